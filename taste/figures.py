"""Pictures of training, and how pictures become files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from taste.files import atomic_path, read_json_lines


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically in the format of `path`'s suffix (the same bytes each time), and close it."""
    kind = path.suffix.lstrip(".")
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=120, format=kind, metadata={"CreationDate": None} if kind == "pdf" else None)
    plt.close(figure)


def plot_losses(systems: Mapping[str, Path]) -> Figure:
    """Draw the training loss (smoothed) and the dev loss of systems over their updates.

    Args:
        systems: name of each system and its directory, which holds `steps.jsonl` and `epochs.jsonl`.
    """
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, system_dir in systems.items():
        steps = read_json_lines(system_dir / "steps.jsonl", "training")
        epochs = read_json_lines(system_dir / "epochs.jsonl", "training")
        loss = np.array([record["loss"] for record in steps])
        window = max(1, min(len(loss), len(loss) // max(1, len(epochs))))
        smooth = np.convolve(loss, np.ones(window) / window, mode="valid")
        (line,) = axes.plot(np.arange(window, len(loss) + 1), smooth, alpha=0.5, linewidth=1)
        axes.plot(
            [record["step"] for record in epochs], [record["dev_loss"] for record in epochs],
            color=line.get_color(), marker="o", markersize=3, label=name,
        )  # fmt: skip
    axes.set_xlabel("update")
    axes.set_ylabel("loss (nats per unit)")
    axes.set_title("dev loss (dots) and training loss (thin, mean over an epoch)")
    axes.legend()
    return figure
