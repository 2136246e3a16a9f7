"""The utterances whose features the benchmark makes: their lengths follow LibriSpeech's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from taste.audio import SAMPLE_RATE
from taste.errors import RecipeError

SECONDS = (4, 8, 12, 16)
AUDIO = (".flac", ".wav", ".opus")
HARMONICS, SYLLABLES_PER_SECOND = 30, 4


def utterances(of_each: int, folder: Path, corpus: str | None) -> dict[str, str]:
    """Utterances of 4, 8, 12 and 16 s in turn.

    Args:
        of_each: how many of each length.
        folder: where synthetic audio is written if there is no corpus.
        corpus: a folder of audio files at any depth, of which those nearest to the lengths are taken.

    Returns:
        utt -> path of a 16 kHz file.

    Raises:
        RecipeError: the corpus has too few files.
    """
    paths = synthetic(of_each, folder) if corpus is None else nearest_in(Path(corpus), of_each)
    return {f"{index:04d}": str(path) for index, path in enumerate(paths)}


def synthetic(of_each: int, folder: Path) -> list[Path]:
    """Something with a voice's harmonics, formants, syllables and noise; the same each time."""
    paths = [folder / f"{index:04d}.flac" for index in range(of_each * len(SECONDS))]
    for index, path in enumerate(paths):
        random = np.random.default_rng(index)
        time = np.arange(SECONDS[index % len(SECONDS)] * SAMPLE_RATE) / SAMPLE_RATE
        pitch = random.uniform(90, 220)  # Hz
        phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.25 * np.sin(5 * time))) / SAMPLE_RATE
        voice = sum(np.sin(k * phase) / k * (1 + np.sin(3 * k + 7 * time)) for k in range(1, HARMONICS))
        syllables = 1 + np.sin(2 * np.pi * SYLLABLES_PER_SECOND * time)
        soundfile.write(path, voice * syllables * 0.05 + random.normal(scale=1e-3, size=len(time)), SAMPLE_RATE)
    return paths


def nearest_in(corpus: Path, of_each: int) -> list[Path]:
    """The files of a corpus whose lengths are nearest to `SECONDS`, each file once."""
    lengths = {path: soundfile.info(path).duration for path in sorted(corpus.rglob("*")) if path.suffix in AUDIO}
    if len(lengths) < of_each * len(SECONDS):
        raise RecipeError(f"{corpus} has {len(lengths)} audio files; {of_each * len(SECONDS)} are needed")
    paths = []
    for _ in range(of_each):
        for seconds in SECONDS:
            paths.append(min(lengths, key=lambda path, seconds=seconds: abs(lengths[path] - seconds)))
            del lengths[paths[-1]]
    return paths
