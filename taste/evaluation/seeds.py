"""Experiments that differ in nothing but their seed, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from taste.errors import RecipeError
from taste.evaluation.results import BASELINES, compare, load_scores, scores_path
from taste.files import read_json
from taste.markdown import markdown_table
from taste.units.record import first_difference

KEYS = {"loss": "loss", "ppl": "ppl", "top1": "top-1", "top5": "top-5", "top1_change": "top-1 at a change"}


def seed_tables(exp_dirs: Sequence[Path], reference: str) -> str:
    """Tables of every test set, in Markdown: mean and standard deviation of the figures, and the paired differences.

    Args:
        exp_dirs: one directory a seed, each with `results.json` and the systems' scores.
        reference: the system that the others are compared with, seed by seed.

    Raises:
        RecipeError: the directories hold other systems, test sets or units, or the same seed.
    """
    results = [read_json(path / "results.json", "stage 10") for path in exp_dirs]
    for path, other in zip(exp_dirs[1:], results[1:], strict=True):
        if list(other["systems"]) != list(results[0]["systems"]):
            raise RecipeError(f"{path} and {exp_dirs[0]} hold other systems")
        if name := first_difference(other["units"], results[0]["units"]):
            raise RecipeError(f"{path} and {exp_dirs[0]} have units of different {name}")
    systems = [name for name in results[0]["systems"] if name not in BASELINES]
    seeds = [_seed(path / systems[0]) for path in exp_dirs]
    if len(set(seeds)) < len(seeds):
        raise RecipeError(f"seeds {seeds}: the same one more than once tells nothing about their spread")
    sections = []
    for test_set in results[0]["systems"][systems[0]]:
        rows = []
        for name in results[0]["systems"]:
            figures = [result["systems"][name][test_set] for result in results]
            rows.append([name, *(_mean_and_deviation([figure[key] for figure in figures]) for key in KEYS)])
        sections.append(f"{test_set}, seeds {', '.join(map(str, seeds))} (mean ± standard deviation):")
        sections.append(markdown_table(["system", *KEYS.values()], rows))
        rows = []
        for name in systems:
            found = [_compare(path, name, reference, test_set) for path in exp_dirs] if name != reference else []
            if found:
                rows.append([name, *(f"{f['difference']:+.4f} ({f['low']:+.4f} to {f['high']:+.4f})" for f in found)])
        sections.append(f"{test_set}, loss minus that of `{reference}` (95 % interval, paired bootstrap):")
        sections.append(markdown_table(["system", *(f"seed {seed}" for seed in seeds)], rows))
    return "\n\n".join(sections)


def _seed(system_dir: Path) -> int:
    return yaml.safe_load((system_dir / "config.yaml").read_text(encoding="utf-8"))["seed"]


def _mean_and_deviation(values: Sequence[float]) -> str:
    if np.ptp(values) == 0:
        return f"{values[0]:.4f}"
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"


def _compare(exp_dir: Path, system: str, reference: str, test_set: str) -> dict[str, float]:
    return compare(*(load_scores(scores_path(exp_dir, name, test_set)) for name in (system, reference)))
