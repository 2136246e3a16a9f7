"""The page: gathers tables, pictures and sounds, and writes `index.html`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from taste.evaluation.tables import units_in_words
from taste.files import read_json, write_text
from taste.provenance import commit
from taste.report.listening import Listening, listen, listen_to_edits
from taste.report.pictures import ablation_pictures, attention_pictures, loss_picture
from taste.report.result_tables import (
    accuracy_sentence,
    accuracy_table,
    edit_table,
    hyperparameter_tables,
    score_sentence,
    score_table,
    spoken_sentence,
    spoken_table,
    token_sentence,
    token_table,
)
from taste.report.table import Table


def write_page(
    exp_dir: Path, data_dir: Path, systems: Sequence[str], test_sets: Sequence[str], reference: str, utts: int,
    seed: int, made_by: str, allow_pipes: bool = False,
) -> Path:  # fmt: skip
    """Write `exp_dir/report/index.html`, which needs no other file and asks for none.

    Scores (stage 12), edits (stage 11) and an ablation are shown where they are there; where not, the page says so.

    Args:
        data_dir: parent of the sets.
        systems: names of systems in exp_dir that stage 10 has evaluated.
        reference: the system that losses are compared with.
        utts: how many utterances of each test set can be heard.
        seed: of the choice of these.
        made_by: command to be quoted.
        allow_pipes: run commands in `wav.scp`.

    Returns:
        The path of the page.

    Raises:
        RecipeError: a file of an earlier stage is missing; which stage makes it is said.
    """
    results = read_json(exp_dir / "results.json", "stage 10")
    listening = [listen(exp_dir, data_dir / name, systems, utts, seed, allow_pipes) for name in test_sets]
    edits = listen_to_edits(exp_dir)
    ablation = _read_if_there(exp_dir / "ablation" / "ablation.json", "run_ablation.sh, stage 7")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        made_by=made_by,
        commit=commit(),
        date=datetime.now(timezone.utc),
        seed=seed,
        results_commit=results["commit"],
        units=units_in_words(results["units"]),
        sampling=units_in_words(results["sampling"]),
        systems=systems,
        test_sets=test_sets,
        listening=listening,
        edits=edits,
        edit_table=edit_table(edits.record) if edits else None,
        score_tables=_score_tables(_read_if_there(exp_dir / "scores.json", "stage 12"), test_sets),
        result_tables=_result_tables(exp_dir, results, test_sets, reference),
        attention=attention_pictures(exp_dir, data_dir / test_sets[0], systems, shortest_first(listening[0])),
        ablation=ablation_pictures(ablation) if ablation else [],
        loss=loss_picture(exp_dir, systems),
        hyperparameters=hyperparameter_tables(exp_dir, systems),
    )
    path = exp_dir / "report" / "index.html"
    write_text(path, page)
    return path


def shortest_first(listening: Listening) -> list[str]:
    """The utterances by their number of words: the attention of few fits a screen."""
    by_length = sorted(listening.utterances, key=lambda utterance: len(utterance.text.split()))
    return [utterance.utt for utterance in by_length]


def _read_if_there(path: Path, made_by: str) -> Any:
    return read_json(path, made_by) if path.exists() else None


def _score_tables(scores: Any, test_sets: Sequence[str]) -> list[tuple[str, list[tuple[str, Table]]]]:
    """Of each test set that has scores its name and, of each table, a sentence and the table."""
    tables = {name: score_table(scores, name) for name in test_sets if name in scores["sets"]} if scores else {}
    return [(name, [(score_sentence(table), table)]) for name, table in tables.items()]


def _result_tables(
    exp_dir: Path, results: Any, test_sets: Sequence[str], reference: str
) -> list[tuple[str, list[tuple[str, Table]]]]:
    """Of each test set its name and, of each table, a sentence and the table."""
    sets = []
    for name in test_sets:
        accuracy = accuracy_table(exp_dir, results, name, reference)
        tables = [(accuracy_sentence(accuracy, reference), accuracy)]
        if spoken := spoken_table(exp_dir, results, name):
            tables.append((spoken_sentence(spoken), spoken))
        if tokens := token_table(results, name):
            tables.append((token_sentence(tokens), tokens))
        sets.append((name, tables))
    return sets
