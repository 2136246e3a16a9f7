"""The ablation's figures from its experiment directories: every system with several seeds, and grids of layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from taste.errors import RecipeError
from taste.evaluation.free_running import Spoken, compare_durations, load_spoken
from taste.evaluation.results import BASELINES, compare, load_scores, scores_path
from taste.evaluation.teacher_forced import Score
from taste.files import read_json

TEACHER_FORCED = ("loss", "ppl", "top1", "top5", "top1_change", "acc")
FREE_RUNNING = (
    "unit_error_rate", "length_ratio", "length_deviation", "duration_correlation", "relative_duration_correlation",
    "positions",
)  # fmt: skip
TOKENS = ("tokens_per_second", "bits_per_second", "entropy_per_second")
REFERENCE, BEST = "text_only_continued", "taste"


def collect(exp_dir: Path, seeds: Sequence[int], layers: Sequence[str]) -> dict[str, Any]:
    """All figures of an ablation.

    Args:
        exp_dir: holds `seed<N>/`, and `grid/` and `grid_other_units/` where these have been run.
        seeds: of the experiments to be taken together.
        layers: of the grids.

    Returns:
        `{"seeds", "reference", "units", "systems": {NAME: {SET: {FIGURE: {"mean", "deviation", "values"}}}}, "grids"}`.
        Beside the figures of `results.json`, a set has `difference`, the loss minus the reference's: its `mean`, the
        `values` of each seed, each seed's 95 % `intervals` over utterances, and the interval `low` to `high` of the
        mean over seeds; `difference_from_taste`, `duration_difference` and `relative_duration_difference` likewise;
        and `kept`, the share of taste's gain in loss.

    Raises:
        RecipeError: an experiment has not been evaluated, or differs from the others in its systems.
    """
    folders = [exp_dir / f"seed{seed}" for seed in seeds]
    results = [read_json(folder / "results.json", "run_ablation.sh, stage 4") for folder in folders]
    for folder, result in zip(folders, results, strict=True):
        if list(result["systems"]) != list(results[0]["systems"]):
            raise RecipeError(f"{folder} has other systems than {folders[0]}; run stages 3 and 4 again for all seeds")
    systems: dict[str, Any] = {}
    for name, sets in results[0]["systems"].items():
        systems[name] = {}
        for test_set in sets:
            figures = over_seeds([result["systems"][name][test_set] for result in results])
            if name not in BASELINES:
                figures |= differences(folders, name, test_set)
                if BEST in results[0]["systems"]:
                    figures["difference_from_taste"] = loss_difference(folders, name, BEST, test_set)
            systems[name][test_set] = figures
    for sets in systems.values():
        for test_set, figures in sets.items():
            gain = systems.get(BEST, {}).get(test_set, {}).get("difference", {}).get("mean")
            if gain and "difference" in figures:
                figures["kept"] = figures["difference"]["mean"] / gain
    grids = {name: grid(exp_dir / name, layers) for name in ("grid", "grid_other_units") if (exp_dir / name).is_dir()}
    return {
        "seeds": list(seeds),
        "reference": REFERENCE,
        "commit": results[0]["commit"],
        "sampling": results[0]["sampling"],
        "units": results[0]["units"],
        "systems": systems,
        "grids": grids,
    }


def over_seeds(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation and values of each figure of one system on one set."""
    figures = {name: spread([result[name] for result in results]) for name in TEACHER_FORCED}
    for part, names in (("free_running", FREE_RUNNING), ("tokens", TOKENS)):
        if part in results[0]:
            values = {name: [result[part][name] for result in results] for name in names}
            figures[part] = {name: spread(each) for name, each in values.items() if None not in each}
    if "tokens" in results[0]:
        for name in ("used", "perplexity"):
            columns = zip(*(result["tokens"][name] for result in results), strict=True)
            figures["tokens"][name] = [spread(column) for column in columns]
    return {**figures, "units": results[0]["units"], "utts": results[0]["utts"]}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation (of a sample; 0 of one value) and the values."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "deviation": deviation, "values": [float(value) for value in values]}


def differences(folders: Sequence[Path], name: str, test_set: str) -> dict[str, Any]:
    """A system's loss and correlations of durations minus the reference's, seed by seed and for the mean over seeds."""
    spoken = [
        [load_spoken(folder / system / "spoken" / test_set / "spoken.jsonl") for folder in folders]
        for system in (name, REFERENCE)
    ]
    found = {"difference": loss_difference(folders, name, REFERENCE, test_set)}
    for key, is_relative in (("duration_difference", False), ("relative_duration_difference", True)):
        if any(each.durations for each in spoken[0][0].values()):
            pairs = zip(*spoken, strict=True)
            found[key] = with_intervals(*(compare_durations(a, b, is_relative) for a, b in pairs))
            pooled = compare_durations(*(together(each) for each in spoken), is_relative)
            found[key] |= {"low": pooled["low"], "high": pooled["high"]}
    return found


def loss_difference(folders: Sequence[Path], name: str, other: str, test_set: str) -> dict[str, Any]:
    """A system's loss minus another's, seed by seed and for the mean over seeds; `perplexity`, its relative change."""
    scores = [[load_scores(scores_path(folder, system, test_set)) for folder in folders] for system in (name, other)]
    pooled = compare(*(mean_scores(each) for each in scores))
    values = with_intervals(*(compare(a, b) for a, b in zip(*scores, strict=True)))
    values |= {"low": pooled["low"], "high": pooled["high"]}
    return {**values, "perplexity": {end: math.exp(values[end]) - 1 for end in ("mean", "low", "high")}}


def with_intervals(*comparisons: Mapping[str, float]) -> dict[str, Any]:
    """The spread of differences over seeds, with each one's interval."""
    intervals = [[each["low"], each["high"]] for each in comparisons]
    return {**spread([each["difference"] for each in comparisons]), "intervals": intervals}


def mean_scores(scores: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    """Each utterance's loss as its mean over seeds."""
    nll = {utt: float(np.mean([each[utt].nll for each in scores])) for utt in scores[0]}
    return {utt: replace(score, nll=nll[utt]) for utt, score in scores[0].items()}


def together(spoken: Sequence[Mapping[str, Spoken]]) -> dict[str, Spoken]:
    """Each utterance's words as spoken with all seeds, so that an utterance is drawn with all of them."""
    parts = ("durations", "reference_durations", "usual_durations")
    joined = {}
    for utt in spoken[0]:
        words = {part: [value for each in spoken for value in getattr(each[utt], part)] for part in parts}
        joined[utt] = replace(spoken[0][utt], **words)
    return joined


def grid(folder: Path, layers: Sequence[str]) -> dict[str, Any]:
    """The figures of a grid of key layers by value layers.

    Returns:
        `layers`, `units`, and of each test set the loss of the `reference` and, key by key, of each value layer minus
        it: `difference` (keys x values), with the interval's ends `low` and `high`.
    """
    results = read_json(folder / "results.json", "run_ablation.sh, stages 5 and 6")
    sets: dict[str, Any] = {}
    for test_set, figures in results["systems"][REFERENCE].items():
        reference = load_scores(scores_path(folder, REFERENCE, test_set))
        rows = [
            [compare(load_scores(scores_path(folder, f"k{key}_v{value}", test_set)), reference) for value in layers]
            for key in layers
        ]
        names = ("difference", "low", "high")
        sets[test_set] = {
            "reference": figures["loss"],
            **{name: [[cell[name] for cell in row] for row in rows] for name in names},
        }
    return {"layers": list(layers), "units": results["units"], "sets": sets}
