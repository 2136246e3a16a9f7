"""Charts of the ablation. Their colours are those of matplotlib's settings, so that they suit a dark page too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from taste.evaluation.results import BASELINES
from taste.figures import save_figure

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def save(figure: Figure, path: Path) -> None:
    """Write `path`.png, for a page, and `path`.pdf, for papers, and close the figure."""
    for kind in ("png", "pdf"):
        save_figure(figure, path.parent / f"{path.name}.{kind}")


def plot_systems(figures: Mapping[str, Any], test_set: str) -> Figure:
    """Loss of each system minus the reference's, with the interval of the mean and each seed as a dot."""
    shown = {
        name: sets[test_set]["difference"]
        for name, sets in figures["systems"].items()
        if name not in BASELINES and name not in ("text_only", figures["reference"])
    }
    names = sorted(shown, key=lambda name: shown[name]["mean"], reverse=True)
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(names) + 1.2), layout="constrained")
    for row, name in enumerate(names):
        each = shown[name]
        axes.plot([each["low"], each["high"]], [row, row], color="C0", linewidth=2)
        axes.plot(each["mean"], row, "o", color="C0")
        axes.plot(each["values"], [row] * len(each["values"]), "|", color=plt.rcParams["text.color"], markersize=9)
    axes.axvline(0, color="gray", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"loss minus that of {figures['reference']} (nats per unit)")
    axes.set_title(f"{test_set}: mean over seeds with its 95 % interval, seeds as strokes")
    return figure


def plot_bits(figures: Mapping[str, Any], test_set: str) -> Figure:
    """Loss over the bits a second that the TASTE tokens cost, beside what no token and no quantizer give."""
    systems = {name: sets[test_set] for name, sets in figures["systems"].items()}
    figure, axes = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
    kinds = {"residual VQ": [], "FSQ": []}
    for name, values in systems.items():
        if "tokens" in values:
            kinds["FSQ" if "fsq" in name else "residual VQ"].append(values)
    for label, rows in kinds.items():
        rows = sorted(rows, key=lambda values: values["tokens"]["bits_per_second"]["mean"])
        axes.errorbar(
            [values["tokens"]["bits_per_second"]["mean"] for values in rows],
            [values["loss"]["mean"] for values in rows], [values["loss"]["deviation"] for values in rows],
            marker="o", capsize=3, label=label,
        )  # fmt: skip
    for name, style in ((figures["reference"], ":"), ("taste", "--")):
        if name in systems:
            axes.axhline(systems[name]["loss"]["mean"], color="gray", linestyle=style, label=f"{name}, no tokens")
    axes.set_xlabel("bits a second (sizes of the codebooks)")
    axes.set_ylabel("loss (nats per unit)")
    axes.set_title(f"{test_set}: mean and standard deviation over seeds")
    axes.legend()
    return figure


def plot_grids(grid: Mapping[str, Any], test_set: str) -> Figure:
    """Loss minus text only's, key layers down and value layers across."""
    cells = np.array(grid["sets"][test_set]["difference"])
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    image = axes.imshow(cells, cmap="viridis_r")
    for (i, j), value in np.ndenumerate(cells):
        is_dark = np.dot(image.cmap(image.norm(value))[:3], LUMINANCE) < 0.5
        axes.text(j, i, f"{value:+.4f}", ha="center", va="center", color="white" if is_dark else "black")
    axes.set_xticks(range(len(cells)), grid["layers"])
    axes.set_yticks(range(len(cells)), grid["layers"])
    axes.set_xlabel("value layer")
    axes.set_ylabel("key layer")
    axes.set_title(f"{test_set}, units of layer {grid['units'].get('layer')}")
    figure.colorbar(image, label="loss minus that of text only")
    return figure
