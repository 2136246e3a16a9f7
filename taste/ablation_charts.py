"""Charts of the ablation: each as PNG for the page and as PDF for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from taste.files import atomic_path
from taste.results import BASELINES


def save(figure: Figure, path: Path) -> None:
    """Write `path`.png and `path`.pdf, and close the figure."""
    for kind in ("png", "pdf"):
        with atomic_path(path.parent / f"{path.name}.{kind}") as partial:
            metadata = {"CreationDate": None} if kind == "pdf" else None
            figure.savefig(partial, dpi=120, format=kind, metadata=metadata)
    plt.close(figure)


def plot_systems(figures: Mapping[str, Any], test_set: str, path: Path) -> None:
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
        axes.plot([each["low"], each["high"]], [row, row], color="tab:blue", linewidth=2)
        axes.plot(each["mean"], row, "o", color="tab:blue")
        axes.plot(each["values"], [row] * len(each["values"]), "|", color="black", markersize=9)
    axes.axvline(0, color="gray", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"loss minus that of {figures['reference']} (nats per unit)")
    axes.set_title(f"{test_set}: mean over seeds with its 95 % interval, seeds as strokes")
    save(figure, path)


def plot_bits(figures: Mapping[str, Any], test_set: str, path: Path) -> None:
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
    save(figure, path)


def plot_grids(grid: Mapping[str, Any], test_set: str, path: Path) -> None:
    """Loss minus text only's, key layers down and value layers across."""
    cells = np.array(grid["sets"][test_set]["difference"])
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    image = axes.imshow(cells, cmap="viridis_r")
    for (i, j), value in np.ndenumerate(cells):
        is_dark = value < (cells.min() + cells.max()) / 2
        axes.text(j, i, f"{value:+.4f}", ha="center", va="center", color="white" if is_dark else "black")
    axes.set_xticks(range(len(cells)), grid["layers"])
    axes.set_yticks(range(len(cells)), grid["layers"])
    axes.set_xlabel("value layer")
    axes.set_ylabel("key layer")
    axes.set_title(f"{test_set}, units of layer {grid['units'].get('layer')}")
    figure.colorbar(image, label="loss minus that of text only")
    save(figure, path)


def plot_attention(
    attention: np.ndarray, words: Sequence[str], tokens_a_word: Sequence[int], seconds: float, title: str, path: Path
) -> None:
    """Draw an attention with the words on one axis and seconds on the other.

    Args:
        attention: (text, frames), or (frames, text) where speech asks.
        words: of the transcript.
        tokens_a_word: how many text tokens each has.
        seconds: the length of the speech.
    """
    by_text = attention if attention.shape[0] == sum(tokens_a_word) else attention.T
    figure, axes = plt.subplots(figsize=(8, 0.35 * len(by_text) + 1.4), layout="constrained")
    scaled = by_text / by_text.max(axis=1, keepdims=True)
    axes.imshow(scaled, aspect="auto", interpolation="nearest", extent=(0, seconds, len(by_text), 0), cmap="Greys")
    starts = np.cumsum([0, *tokens_a_word[:-1]])
    axes.set_yticks([start + n / 2 for start, n in zip(starts, tokens_a_word, strict=True)], words)
    for start in starts[1:]:
        axes.axhline(start, color="lightgray", linewidth=0.5)
    axes.set_xlabel("seconds")
    axes.set_title(f"{title} (each row scaled to its highest)")
    save(figure, path)
