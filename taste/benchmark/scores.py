"""What stages 11 and 12 hear in speech: words and their times, quality, pitch; on utterances of egs/mini."""

from __future__ import annotations

from collections.abc import Callable

import librosa
import numpy as np
import torch
from speechmos import dnsmos

from taste.audio import SAMPLE_RATE, read_speech
from taste.benchmark.models import ROOT
from taste.scores.acoustics import F0_MAX, F0_MIN, F0_RATE, HOP, WINDOW, track_f0
from taste.scores.quality import mean_opinion
from taste.scores.transcription import Transcriber
from taste.whisper.weights import load_whisper

UTTERANCES = 8


def our_transcripts(model: str, pretrained_dir: str) -> Callable[[], float]:
    """`taste.scores.transcription.Transcriber`, all utterances at once.

    Args:
        model, pretrained_dir: as in `load_whisper`.
    """
    transcriber = Transcriber(model, pretrained_dir, torch.device("cpu"))
    return _on_speech(lambda speech: transcriber.transcribe(speech, word_times=True))


def openai_transcripts(model: str, pretrained_dir: str) -> Callable[[], float]:
    """openai-whisper's `transcribe`, greedy and without its second tries, one utterance at a time."""
    loaded = load_whisper(model, pretrained_dir)
    settings = {"language": "en", "temperature": 0.0, "fp16": False, "word_timestamps": True}
    return _on_speech(lambda speech: [loaded.transcribe(each, **settings) for each in speech])


def our_quality() -> Callable[[], float]:
    """`taste.scores.quality.mean_opinion`."""
    return _on_speech(lambda speech: [mean_opinion(each) for each in speech])


def speechmos_quality() -> Callable[[], float]:
    """speechmos' own `run`, on audio repeated to fill a window, as ours does."""
    size = int(dnsmos.INPUT_LENGTH * SAMPLE_RATE)
    return _on_speech(lambda speech: [dnsmos.run(np.resize(each, size), SAMPLE_RATE) for each in speech])


def our_pitch(rate: int = F0_RATE) -> Callable[[], float]:
    """`taste.scores.acoustics.track_f0`, `rate` values a second."""
    return _on_speech(lambda speech: [track_f0(each, rate) for each in speech])


def librosa_pitch() -> Callable[[], float]:
    """The same by librosa's pYIN in the steps of pitch that are its default."""
    settings = {"fmin": F0_MIN, "fmax": F0_MAX, "sr": SAMPLE_RATE, "frame_length": WINDOW, "hop_length": HOP}
    return _on_speech(lambda speech: [librosa.pyin(each, **settings) for each in speech])


def _on_speech(work_on: Callable[[list[np.ndarray]], object]) -> Callable[[], float]:
    paths = sorted((ROOT / "egs/mini/corpus/test").rglob("*.opus"))
    speech = [read_speech(str(path)) for path in paths[:: len(paths) // UTTERANCES][:UTTERANCES]]

    def work() -> float:
        work_on(speech)
        return 0.0

    return work
