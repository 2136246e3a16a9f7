"""The report's pictures: each drawn twice, for a light and for a dark page, with a text that says what it shows."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from taste.ablation.charts import plot_bits, plot_grids, plot_systems
from taste.attention_map import attention_of, by_text, plot_attention
from taste.checkpoint import load_system
from taste.dataset import UnitDataset
from taste.figures import plot_losses
from taste.files import read_json_lines
from taste.tables import read_table

DPI = 160
CSS_PIXELS_AN_INCH = 96
ATTENTION_UTTS = 2


def _theme(paper: str, ink: str, muted: str, line: str, cycle: Sequence[str]) -> dict[str, Any]:
    """Settings of matplotlib that draw in the colours of the page (style.css has the same)."""
    return {
        "figure.facecolor": paper, "axes.facecolor": paper, "savefig.facecolor": paper,
        "text.color": ink, "axes.labelcolor": muted, "axes.titlecolor": ink,
        "xtick.color": line, "ytick.color": line, "xtick.labelcolor": ink, "ytick.labelcolor": ink,
        "axes.edgecolor": line, "grid.color": line, "legend.frameon": False,
        "axes.spines.top": False, "axes.spines.right": False,
        "axes.titlesize": 10, "axes.titlelocation": "left", "axes.prop_cycle": cycler(color=cycle),
    }  # fmt: skip


LIGHT = _theme(
    "#ffffff", "#1d2026", "#565c66", "#9aa0a8",
    ["#0f62a8", "#c2500a", "#157347", "#7a3fc0", "#a61e4d", "#0b7285", "#7a5a00", "#495057"],
)  # fmt: skip
DARK = _theme(
    "#1b1f26", "#e8e6e1", "#a9afb9", "#5d6572",
    ["#74b8f2", "#f7a66b", "#7ed8a0", "#c9a5f7", "#f58fb4", "#66d0e0", "#e3c565", "#ced4da"],
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A picture for both kinds of page, as data URIs, and its size in CSS pixels."""

    light: str
    dark: str
    width: int
    height: int
    alt: str
    caption: str


def picture(draw: Callable[[], Figure], alt: str, caption: str) -> Picture:
    """Draw a figure in the colours of the light and of the dark page."""
    sources = []
    for theme in (LIGHT, DARK):
        with plt.rc_context(theme), io.BytesIO() as stream:
            figure = draw()
            figure.savefig(stream, dpi=DPI, format="png")
            width, height = (round(inches * CSS_PIXELS_AN_INCH) for inches in figure.get_size_inches())
            plt.close(figure)
            sources.append(data_uri("image/png", stream.getvalue()))
    return Picture(*sources, width, height, alt, caption)


def data_uri(media_type: str, content: bytes) -> str:
    """A file as the address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def loss_picture(exp_dir: Path, systems: Sequence[str]) -> Picture:
    """Loss curves of all systems."""
    parts = []
    for name in systems:
        epochs = read_json_lines(exp_dir / name / "epochs.jsonl", "training")
        first, best = epochs[0], min(epochs, key=lambda record: record["dev_loss"])
        parts.append(
            f"{name} {first['dev_loss']:.3f} after {first['step']} updates, at best {best['dev_loss']:.3f} after "
            f"{best['step']}"
        )
    return picture(
        lambda: plot_losses({name: exp_dir / name for name in systems}),
        f"Loss over updates. Dev loss in nats a unit: {'; '.join(parts)}.",
        "Loss of each system over its own updates.",
    )


def ablation_pictures(figures: Mapping[str, Any]) -> list[Picture]:
    """The charts of an ablation, of its first test set.

    Args:
        figures: of `ablation.json`.
    """
    test_set = next(iter(next(iter(figures["systems"].values()))))
    systems = {name: sets[test_set] for name, sets in figures["systems"].items()}
    pictures = []
    differences = {
        name: values["difference"]
        for name, values in systems.items()
        if "difference" in values and name not in ("text_only", figures["reference"])
    }
    if differences:
        each = ", ".join(
            f"{name} {found['mean']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})"
            for name, found in sorted(differences.items(), key=lambda item: item[1]["mean"])
        )
        seeds = ", ".join(map(str, figures["seeds"]))
        pictures.append(
            picture(
                lambda: plot_systems(figures, test_set),
                f"Loss minus that of {figures['reference']} on {test_set}, mean over seeds and 95 % interval: {each}.",
                f"What each aggregator, quantizer and control gains or loses (seeds: {seeds}); further left is better.",
            )
        )
    with_tokens = {name: values for name, values in systems.items() if "tokens" in values}
    if with_tokens:
        each = ", ".join(
            f"{name} {values['tokens']['bits_per_second']['mean']:.1f} bits a second and loss "
            f"{values['loss']['mean']:.4f}"
            for name, values in with_tokens.items()
        )
        pictures.append(
            picture(
                lambda: plot_bits(figures, test_set),
                f"Loss over the bits a second of the TASTE tokens on {test_set}: {each}.",
                "What the tokens cost, and what they keep.",
            )
        )
    for grid in figures["grids"].values():
        cells = np.array(grid["sets"][test_set]["difference"])
        key, value = np.unravel_index(cells.argmin(), cells.shape)
        pictures.append(
            picture(
                lambda grid=grid: plot_grids(grid, test_set),
                f"Loss minus that of text only for each key layer and value layer of {', '.join(grid['layers'])}, on "
                f"{test_set}: from {cells.min():+.4f} (key {grid['layers'][key]}, value {grid['layers'][value]}) to "
                f"{cells.max():+.4f}.",
                "Which layers of the encoder to look with and to read.",
            )
        )
    return pictures


def attention_pictures(exp_dir: Path, data_dir: Path, systems: Sequence[str], utts: Sequence[str]) -> list[Picture]:
    """Where each system with an aggregator looks for each word of two utterances.

    Args:
        data_dir: of the utterances, with the features of stage 4.
        utts: the first two that have features are shown.
    """
    text, counts, seconds = (
        read_table(data_dir / name, made_by)
        for name, made_by in (("text", "stage 1"), ("utt2word_tokens", "stage 4"), ("utt2dur", "stage 1"))
    )
    times = read_table(data_dir / "utt2words") if (data_dir / "utt2words").exists() else {}
    pictures = []
    for name in systems:
        config, model = load_system(exp_dir / name, torch.device("cpu"))
        if model.speech is None:
            continue
        dataset = UnitDataset(data_dir, config.model)
        for utt in [utt for utt in utts if utt in set(dataset.utts)][:ATTENTION_UTTS]:
            words, tokens, length = text[utt].split(), [*map(int, counts[utt].split())], float(seconds[utt])
            attention = attention_of(model, dataset, utt)
            peaks = word_peaks(attention, tokens, length)
            alt = (
                f"Attention of {name} for the {len(words)} words of “{text[utt]}” over {length:.1f} s; it is highest "
                f"at {', '.join(f'{peak:.1f} s for {word}' for word, peak in zip(words, peaks, strict=True))}."
            )
            caption = f"{name}, {utt}."
            if spans := _spans(times.get(utt, "")):
                within = sum(start <= peak <= end for peak, (start, end) in zip(peaks, spans, strict=True))
                caption += f" It is highest within the word that is being said for {within} of {len(words)} words."
            pictures.append(
                picture(
                    lambda a=attention, w=words, t=tokens, s=length, title=f"{name}, {utt}": plot_attention(
                        a, w, t, s, title
                    ),
                    alt,
                    caption,
                )
            )
    return pictures


def word_peaks(attention: np.ndarray, tokens_a_word: Sequence[int], seconds: float) -> list[float]:
    """The time, in seconds, at which each word's first token looks most.

    Args:
        attention: (text, frames) or (frames, text).
        tokens_a_word: how many text tokens each word has.
        seconds: the length of the speech.
    """
    rows = by_text(attention, sum(tokens_a_word))
    starts = np.cumsum([0, *tokens_a_word[:-1]])
    return [float((rows[start].argmax() + 0.5) * seconds / rows.shape[1]) for start in starts]


def _spans(words: str) -> list[tuple[float, float]]:
    """Start and end of each word of a line of `utt2words`."""
    fields = words.split()
    return list(zip(map(float, fields[1::3]), map(float, fields[2::3]), strict=True))
