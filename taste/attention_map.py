"""Where a system listens: its attention as a picture, words on one axis and seconds on the other."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from taste.dataset import UnitDataset
from taste.model.joint import JointModel


@torch.inference_mode()
def attention_of(model: JointModel, dataset: UnitDataset, utt: str) -> np.ndarray:
    """The attention of one utterance, its heads averaged: (text, frames), or (frames, text) of speech queries."""
    batch = dataset[[dataset.utts.index(utt)]]
    speech = model.speech(model.lm.encode_text(batch.text_token), batch)
    return speech.attention[0].mean(0).numpy()


def by_text(attention: np.ndarray, tokens: int) -> np.ndarray:
    """The attention of `attention_of` with a row for each text token: (text, frames)."""
    return attention if attention.shape[0] == tokens else attention.T


def plot_attention(
    attention: np.ndarray, words: Sequence[str], tokens_a_word: Sequence[int], seconds: float, title: str
) -> Figure:
    """Draw an attention with the words on one axis and seconds on the other.

    Args:
        attention: (text, frames), or (frames, text) where speech asks.
        words: of the transcript.
        tokens_a_word: how many text tokens each has.
        seconds: the length of the speech.
    """
    rows = by_text(attention, sum(tokens_a_word))
    figure, axes = plt.subplots(figsize=(7, 0.35 * len(rows) + 1.4), layout="constrained")
    scaled = rows / rows.max(axis=1, keepdims=True)
    ink = LinearSegmentedColormap.from_list("ink", [plt.rcParams["axes.facecolor"], plt.rcParams["text.color"]])
    axes.imshow(scaled, aspect="auto", interpolation="nearest", extent=(0, seconds, len(rows), 0), cmap=ink)
    starts = np.cumsum([0, *tokens_a_word[:-1]])
    axes.set_yticks([start + n / 2 for start, n in zip(starts, tokens_a_word, strict=True)], words)
    for start in starts[1:]:
        axes.axhline(start, color=plt.rcParams["grid.color"], linewidth=0.5)
    axes.set_xlabel("seconds")
    axes.set_title(f"{title} (each row scaled to its highest)")
    return figure
