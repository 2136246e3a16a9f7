"""A figure of what the encoder is given: log-mel spectrograms with their words."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from whisper.audio import HOP_LENGTH, log_mel_spectrogram

from taste.audio import SAMPLE_RATE, read_speech
from taste.errors import RecipeError, UtteranceError
from taste.files import atomic_path
from taste.tables import read_table

UTTERANCES = 3
TEXT_WIDTH = 130  # characters a line below a picture


def mel_figure(data_dir: str | Path, destination: str | Path, allow_pipes: bool = False) -> None:
    """Draw Whisper's 80-channel log-mel spectrogram of a few utterances, spread over the directory.

    Words stand above the time they are spoken if `utt2words` says so, else the transcript stands below.

    Args:
        data_dir: a data directory after stage 2.
        destination: the picture; its suffix says the format (png, pdf, svg).

    Raises:
        RecipeError: a table is missing, or not one of the utterances can be read.
    """
    data_dir, destination = Path(data_dir), Path(destination)
    wav_scp, text = read_table(data_dir / "wav.scp", "stage 1"), read_table(data_dir / "text", "stage 1")
    words = read_table(data_dir / "utt2words") if (data_dir / "utt2words").exists() else {}
    shown = {}
    for index in np.linspace(0, len(wav_scp) - 1, UTTERANCES).round().astype(int):
        utt = list(wav_scp)[index]
        try:
            shown[utt] = read_speech(wav_scp[utt], allow_pipes)
        except UtteranceError:
            continue  # stage 2 has named it
    if not shown:
        raise RecipeError(f"{data_dir}: no utterance for the figure {destination} can be read; stage 2 mends the audio")
    figure = Figure(figsize=(10, 2.6 * len(shown)), layout="constrained")
    for axes, (utt, samples) in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown.items(), strict=True):
        _draw(axes, utt, samples, words.get(utt, ""), text.get(utt, ""))
    with atomic_path(destination) as partial:
        figure.savefig(partial, format=destination.suffix.lstrip("."), dpi=120)


def _draw(axes: Axes, utt: str, samples: np.ndarray, words: str, text: str) -> None:
    mel = log_mel_spectrogram(samples).numpy()
    seconds = mel.shape[1] * HOP_LENGTH / SAMPLE_RATE
    axes.imshow(mel, origin="lower", aspect="auto", extent=(0, seconds, 0, mel.shape[0]), cmap="magma")
    axes.set_xlim(0, seconds)
    axes.set_title(utt, fontsize=9)
    axes.set_ylabel("mel channel")
    axes.set_xlabel("seconds" if words else f"seconds\n{textwrap.fill(text, TEXT_WIDTH)}", fontsize=8)
    fields = words.split()
    middles = []
    for start, end in zip(map(float, fields[1::3]), map(float, fields[2::3]), strict=True):
        middles.append((start + end) / 2)
        axes.axvspan(start, end, ymin=0.96, color="white", alpha=0.6)
    if fields:
        axes.secondary_xaxis("top").set_xticks(middles, fields[::3], fontsize=8, rotation=30, ha="left")
