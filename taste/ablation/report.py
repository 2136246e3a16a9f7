"""The ablation for people: RESULTS.md, rows for LaTeX, charts, attention maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from taste.ablation.charts import plot_bits, plot_grids, plot_systems, save
from taste.ablation.collect import BEST
from taste.attention_map import attention_of, plot_attention
from taste.checkpoint import load_system
from taste.dataset import UnitDataset
from taste.evaluation.results import BASELINES
from taste.evaluation.tables import units_in_words
from taste.files import write_text
from taste.markdown import markdown_table
from taste.tables import read_table


def write_report(exp_dir: Path, figures: Mapping[str, Any], made_by: str) -> Path:
    """Write `RESULTS.md`, `tables.tex` and `charts/` of an ablation.

    Args:
        exp_dir: of the ablation.
        figures: of `taste.ablation.collect`.
        made_by: the command to be quoted.

    Returns:
        The path of RESULTS.md.
    """
    test_sets = list(figures["systems"]["text_only"])
    charts = exp_dir / "charts"
    save(plot_systems(figures, test_sets[0]), charts / "loss")
    save(plot_bits(figures, test_sets[0]), charts / "bits")
    for name, grid in figures["grids"].items():
        save(plot_grids(grid, test_sets[0]), charts / name)
    seeds = ", ".join(map(str, figures["seeds"]))
    sections = [
        "# Ablation",
        f"`{made_by}` at commit {figures['commit']}; seeds {seeds}.",
        f"Units: {units_in_words(figures['units'])}. Sampling: {units_in_words(figures['sampling'])}.",
        "Mean ± standard deviation over seeds. Losses in nats per unit, teacher-forced, all utterances. Differences "
        f"are from `{figures['reference']}`, which has had as many updates; in brackets the 95 % interval of the mean "
        "over seeds (paired bootstrap over utterances), and how many seeds' own intervals exclude zero.",
    ]
    for test_set in test_sets:
        sections += [f"## {test_set}", loss_table(figures, test_set)]
        sections += [f"### Free running on {test_set}", free_running_table(figures, test_set)]
        if any("tokens" in sets[test_set] for sets in figures["systems"].values()):
            sections += [f"### TASTE tokens of {test_set}", token_table(figures, test_set)]
    for name, grid in figures["grids"].items():
        sections += [f"## Key layer by value layer ({name})", grid_text(grid)]
    sections += ["## Charts", "![loss](charts/loss.png)", "![bits](charts/bits.png)"]
    sections += [f"![{name}](charts/{name}.png)" for name in figures["grids"]]
    sections += [f"![{path.stem}](charts/{path.name})" for path in sorted(charts.glob("attention_*.png"))]
    write_text(exp_dir / "RESULTS.md", "\n\n".join(sections) + "\n")
    write_text(exp_dir / "tables.tex", "\n".join(latex_rows(figures, test_set) for test_set in test_sets))
    return exp_dir / "RESULTS.md"


def pm(figure: Mapping[str, Any], decimals: int = 4) -> str:
    """`mean ± deviation`."""
    return f"{figure['mean']:.{decimals}f} ± {figure['deviation']:.{decimals}f}"


def difference_in_words(difference: Mapping[str, Any], decimals: int = 4) -> str:
    """The mean difference, its interval, and in how many seeds zero lies outside."""
    outside = sum(low > 0 or high < 0 for low, high in difference["intervals"])
    low, high = (f"{difference[end]:+.{decimals}f}" for end in ("low", "high"))
    return f"{difference['mean']:+.{decimals}f} ({low} to {high}; {outside} of {len(difference['intervals'])})"


def rows_of(
    figures: Mapping[str, Any], test_set: str, part: str, row: Callable[[str, Mapping], list[str]]
) -> list[list[str]]:
    """A table's rows: one a system that has the part of the figures that the table is about."""
    systems = figures["systems"].items()
    return [row(name, sets[test_set]) for name, sets in systems if part in sets[test_set]]


def loss_table(figures: Mapping[str, Any], test_set: str) -> str:
    """Teacher-forced figures of all systems."""

    def row(name: str, values: Mapping) -> list[str]:
        columns = [pm(values["loss"]), pm(values["ppl"], 3), pm(values["top1"]), pm(values["top5"])]
        for key, other in (("difference", figures["reference"]), ("difference_from_taste", BEST)):
            columns.append(difference_in_words(values[key]) if key in values and name != other else "")
        return [name, *columns]

    header = ["system", "loss", "ppl", "top-1", "top-5", "loss minus the reference's", "loss minus taste's"]
    return markdown_table(header, rows_of(figures, test_set, "loss", row))


def free_running_table(figures: Mapping[str, Any], test_set: str) -> str:
    """What the systems sample by themselves."""

    def row(name: str, values: Mapping) -> list[str]:
        free = values["free_running"]
        columns = [f"{free['positions']['mean']:.2f}"]
        shown = ("unit_error_rate", "length_ratio", "duration_correlation", "relative_duration_correlation")
        columns += [pm(free[key], 3) if key in free else "" for key in shown]
        for key in ("duration_difference", "relative_duration_difference"):
            is_there = key in values and name != figures["reference"]
            columns.append(difference_in_words(values[key], 3) if is_there else "")
        return [name, *columns]

    header = ["system", "read per unit", "unit error rate", "length ratio", "duration correlation", "relative"]
    header += ["duration correlation minus the reference's", "relative minus the reference's"]
    return markdown_table(header, rows_of(figures, test_set, "free_running", row))


def token_table(figures: Mapping[str, Any], test_set: str) -> str:
    """What TASTE tokens cost, and what they keep of the gain."""

    def row(name: str, values: Mapping) -> list[str]:
        tokens = values["tokens"]
        rates = [f"{tokens['tokens_per_second']['mean']:.2f}", f"{tokens['bits_per_second']['mean']:.1f}"]
        used = ", ".join(f"{each['mean']:.0%}" for each in tokens["used"])
        perplexity = ", ".join(f"{each['mean']:.0f}" for each in tokens["perplexity"])
        kept = f"{values['kept']:.0%}" if "kept" in values else ""
        return [name, *rates, pm(tokens["entropy_per_second"], 1), used, perplexity, pm(values["loss"]), kept]

    header = ["system", "tokens/s", "bit/s", "entropy (bit/s)", "entries used", "perplexity", "loss", "of taste's gain"]
    return markdown_table(header, rows_of(figures, test_set, "tokens", row))


def grid_text(grid: Mapping[str, Any]) -> str:
    """Tables of a grid, key layers down and value layers across."""
    parts = [f"Units: {units_in_words(grid['units'])}. Loss minus that of text only; in brackets the 95 % interval."]
    for test_set, cells in grid["sets"].items():
        rows = []
        for i, key in enumerate(grid["layers"]):
            columns = zip(*(cells[name][i] for name in ("difference", "low", "high")), strict=True)
            rows.append([f"key {key}", *(f"{d:+.4f} ({low:+.4f} to {high:+.4f})" for d, low, high in columns)])
        header = [test_set, *(f"value {layer}" for layer in grid["layers"])]
        parts.append(markdown_table(header, rows))
    return "\n\n".join(parts)


def latex_rows(figures: Mapping[str, Any], test_set: str) -> str:
    """Rows of a LaTeX table: system, loss, perplexity, top-1, top-5, difference."""
    lines = [f"% {test_set}: system & loss & perplexity & top-1 & top-5 & loss minus the reference's \\\\"]
    for name, sets in figures["systems"].items():
        values = sets[test_set]
        cells = [
            rf"${values[key]['mean']:.3f} \pm {values[key]['deviation']:.3f}$"
            for key in ("loss", "ppl", "top1", "top5")
        ]
        difference = values.get("difference")
        has_difference = difference and name != figures["reference"]
        cells.append(rf"${difference['mean']:+.4f}$" if has_difference else "--")
        lines.append(" & ".join([name.replace("_", r"\_"), *cells]) + r" \\")
    return "\n".join(lines) + "\n"


def draw_attention(exp_dir: Path, data_dir: Path, seed: int, utts: Sequence[str], systems: Sequence[str]) -> None:
    """Draw where systems with an aggregator look for each text token of some utterances, as PNG and PDF."""
    tables = [read_table(data_dir / name, "stages 1 and 4") for name in ("text", "utt2word_tokens", "utt2dur")]
    for name in systems:
        folder = exp_dir / f"seed{seed}" / name
        if name in BASELINES or not (folder / "train.json").exists():
            continue
        config, model = load_system(folder, torch.device("cpu"))
        if model.speech is None:
            continue
        dataset = UnitDataset(data_dir, config.model)
        for utt in utts:
            words, lengths, seconds = (table[utt] for table in tables)
            attention = attention_of(model, dataset, utt)
            counts = [*map(int, lengths.split())]
            figure = plot_attention(attention, words.split(), counts, float(seconds), f"{name}, {utt}")
            save(figure, exp_dir / "charts" / f"attention_{name}_{utt}")
