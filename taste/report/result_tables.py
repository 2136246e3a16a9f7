"""The report's tables of stage 10: what the systems foresee, what they say by themselves, what their tokens cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taste.editing.table import COLUMNS, edit_rows, edits_in_words
from taste.evaluation.bootstrap import bootstrap_of_sums
from taste.evaluation.free_running import duration_correlation, load_spoken
from taste.evaluation.results import BASELINES, compare, load_scores, scores_path
from taste.evaluation.tables import hyperparameters
from taste.evaluation.teacher_forced import Score
from taste.reconstruction import TOPLINE
from taste.report.table import EMPTY, Cell, Column, Table, decimals, figure_cell
from taste.scores.table import ORIGINAL

ACCURACY = (
    Column("loss", "nats a unit", "lower", "Cross-entropy, the end of speech counted as a unit."),
    Column("perplexity", "", "lower", "The exponential of the loss."),
    Column("top-1", "", "higher", "Fraction of units that are the most probable one."),
    Column("top-5", "", "higher", "Fraction of units that are among the five most probable."),
    Column("top-1 at a change", "", "higher", "The same of units that differ from the one before."),
)
SPOKEN = (
    Column("unit error rate", "", "lower", "Edits a unit of the recording."),
    Column("length ratio", "", None, "All sampled units by all units of the recordings."),
    Column("word durations", "correlation", "higher", "Pearson's, of sampled with recorded words."),
    Column(
        "relative durations",
        "correlation",
        "higher",
        "The same of durations divided by what the word takes in training on average, which text cannot tell.",
    ),
    Column("at the limit", "utterances", None, "Utterances that had not ended at the greatest length."),
)


def accuracy_table(exp_dir: Path, results: Mapping[str, Any], test_set: str, reference: str) -> Table:
    """Teacher-forced figures of each system, with intervals over utterances.

    Args:
        results: of `results.json`.
        reference: the system whose loss is taken from that of the others, where it is there.
    """
    scores = {name: load_scores(scores_path(exp_dir, name, test_set)) for name in results["systems"]}
    columns = list(ACCURACY)
    if reference in scores:
        columns.append(Column(f"loss minus {reference}", "nats a unit", "lower", "With a paired bootstrap."))
    columns.append(Column("updates", "", None, "Updates of the weights since random ones or those given."))
    rows = []
    for name in sorted(scores, key=lambda name: name not in BASELINES):
        figures = results["systems"][name][test_set]
        utts = list(scores[name].values())
        cells = [
            interval_cell(utts, lambda score: (score.nll, score.units + score.ends), 4),
            Cell(f"{figures['ppl']:.2f}", figures["ppl"]),
            interval_cell(utts, lambda score: (score.top1, score.units), 4),
            interval_cell(utts, lambda score: (score.top5, score.units), 4),
            Cell(f"{figures['top1_change']:.4f}", figures["top1_change"]),
        ]
        if reference in scores:
            difference = EMPTY
            if name != reference and name not in BASELINES:
                difference = figure_cell(compare(scores[name], scores[reference]), 4, "difference", "+")
            cells.append(difference)
        cells.append(Cell(f"{figures['updates']:,}") if "updates" in figures else EMPTY)
        rows.append((name, cells))
    caption = f"{test_set}, {figures['utts']:,} utterances, {figures['units']:,} units, teacher-forced"
    return Table(caption, columns, rows, references=BASELINES)


def interval_cell(scores: Sequence[Score], fraction: Callable[[Score], tuple[float, float]], digits: int) -> Cell:
    """The sum over the scores of one figure by that of another, with its interval over utterances."""
    columns = np.array([fraction(score) for score in scores], dtype=float)
    return figure_cell(bootstrap_of_sums(columns, lambda sums: sums[..., 0] / sums[..., 1], 1), digits, "difference")


def accuracy_sentence(table: Table, reference: str) -> str:
    """What a table of `accuracy_table` says."""
    best = " and ".join(table.best[0])
    if not best:
        return "One system was tested."
    titles = [column.title for column in table.columns]
    sentence = f"{best} has the lowest loss."
    if f"loss minus {reference}" in titles and reference not in table.best[0]:
        cell = dict(table.rows)[table.best[0][0]][titles.index(f"loss minus {reference}")]
        sentence = f"{best} has the lowest loss; its difference from {reference} is {cell.text} nats a unit "
        sentence += f"(95 % interval {cell.interval})."
    return sentence


def spoken_table(exp_dir: Path, results: Mapping[str, Any], test_set: str) -> Table | None:
    """What the systems sample by themselves, with intervals over utterances; None where none did."""
    rows = []
    for name, sets in results["systems"].items():
        if (figures := sets[test_set].get("free_running")) is None:
            continue
        spoken = load_spoken(exp_dir / name / "spoken" / test_set / "spoken.jsonl")
        counts = np.array([(each.edits, each.units, each.reference_units) for each in spoken.values()], dtype=float)
        rates = [bootstrap_of_sums(counts, lambda sums, i=i: sums[..., i] / sums[..., 2], 1) for i in (0, 1)]
        cells = [figure_cell(rate, 3, "difference") for rate in rates]
        for key, is_relative in (("duration_correlation", False), ("relative_duration_correlation", True)):
            is_known = figures[key] is not None
            found = duration_correlation(spoken, is_relative) if is_known else None
            cells.append(figure_cell(found, 3, "difference") if found else EMPTY)
        cells.append(Cell(f"{figures['at_limit']} of {figures['utts']}"))
        rows.append((name, cells))
    columns = [
        Column(c.title, c.unit, c.better, c.how, missing_of(rows, i, "the times of the words are not known"))
        for i, c in enumerate(SPOKEN)
    ]
    return Table(f"{test_set}, units sampled without the recording's", columns, rows) if rows else None


def missing_of(rows: Sequence[tuple[str, Sequence[Cell]]], number: int, reason: str) -> str | None:
    """The reason, where a column has no figure."""
    return reason if all(cells[number] == EMPTY for _, cells in rows) else None


def spoken_sentence(table: Table) -> str:
    """What a table of `spoken_table` says."""
    numbers = {column.title: number for number, column in enumerate(table.columns)}
    for title in ("relative durations", "unit error rate"):
        if best := table.best[numbers[title]]:
            text = dict(table.rows)[best[0]][numbers[title]].text
            what = {
                "relative durations": "keeps the recording's timing best: relative word durations correlate at",
                "unit error rate": "stays closest to the recording's units: the unit error rate is",
            }[title]
            return f"Left to itself, {' and '.join(best)} {what} {text}."
    return "One system has sampled units."


def token_table(results: Mapping[str, Any], test_set: str) -> Table | None:
    """What TASTE tokens cost; None where no system has such."""
    rows = []
    for name, sets in results["systems"].items():
        if (figures := sets[test_set].get("tokens")) is None:
            continue
        rates = [figures[key] for key in ("tokens_per_second", "bits_per_second", "entropy_per_second")]
        used = ", ".join(f"{fraction:.0%}" for fraction in figures["used"])
        perplexity = ", ".join(f"{value:.0f}" for value in figures["perplexity"])
        rows.append((name, [*(Cell(f"{rate:.1f}", rate) for rate in rates), Cell(used), Cell(perplexity)]))
    columns = [
        Column("tokens", "a second"),
        Column("bits", "a second", None, "By the sizes of the codebooks."),
        Column("entropy", "bits a second", None, "By how often each entry occurs in this set."),
        Column("entries used", "of each codebook"),
        Column("perplexity", "of each codebook"),
    ]
    return Table(f"{test_set}, TASTE tokens", columns, rows) if rows else None


def token_sentence(table: Table) -> str:
    """What a table of `token_table` says."""
    costs = [f"{name} {cells[1].text} bits a second at {cells[0].text} tokens" for name, cells in table.rows]
    return f"Speech beside its text costs {'; '.join(costs)}."


def score_table(scores: Mapping[str, Any], test_set: str) -> Table:
    """The scores of one set, from `scores.json` of stage 12.

    Each figure has as many decimals as the column's largest needs; `original` and `topline` are no systems.
    """
    rows = {name: scores["sets"][test_set][name] for name in scores["sets"][test_set]}
    columns, cells = [], []
    for name, score in scores["scores"].items():
        figures = {row: values.get(name) for row, values in rows.items()}
        digits = decimals([figure["mean"] for figure in figures.values() if figure])
        columns.append(Column(score["title"], score["unit"] or "", score["better"], score["how"], score["missing"]))
        cells.append({row: figure_cell(figure, digits) if figure else EMPTY for row, figure in figures.items()})
    filled = [(row, [column[row] for column in cells]) for row in rows]
    utts = {figure["utts"] for values in rows.values() for figure in values.values() if figure}
    several = f"{min(utts):,} to {max(utts):,}" if len(utts) > 1 else f"{max(utts, default=0):,}"
    caption = f"{test_set}, {several} utterances a figure"
    return Table(caption, columns, filled, references=(ORIGINAL, TOPLINE))


def edit_table(edits: Mapping[str, Any]) -> Table:
    """What edits of TASTE tokens change, from `edits.json` of stage 11."""
    columns = [Column(title, how=how) for title, how in COLUMNS.items()]
    rows = [(name, [Cell(text) if text else EMPTY for text in texts]) for name, texts in edit_rows(edits)]
    return Table(edits_in_words(edits), columns, rows, first="what changes")


def score_sentence(table: Table) -> str:
    """What a table of `score_table` says: how often each system is the best."""
    compared = [number for number, _ in table.compared() if table.best[number]]
    if not compared:
        return "There are no two systems to compare."
    wins = {name: sum(name in table.best[number] for number in compared) for name, _ in table.rows}
    parts = [f"{name} in {wins[name]}" for name in sorted(wins, key=wins.__getitem__, reverse=True) if wins[name]]
    return f"Of {len(compared)} scores that have a better end, the best system is {', '.join(parts)}."


def hyperparameter_tables(exp_dir: Path, systems: Sequence[str]) -> list[Table]:
    """Two tables: the settings in which systems differ, a column a system, and those that all share."""
    found = {system: hyperparameters(exp_dir / system) for system in systems}
    keys = list(next(iter(found.values())))
    shared = [key for key in keys if len({each[key] for each in found.values()}) == 1]
    differing = [(key, [Cell(found[s][key] or "–") for s in systems]) for key in keys if key not in shared]
    common = [(key, [Cell(found[systems[0]][key] or "–")]) for key in shared]
    return [
        Table("Settings and costs in which the systems differ", [*map(Column, systems)], differing, first="setting"),
        Table("Settings that all systems share", [Column("value")], common, first="setting"),
    ]
