"""The scores of single utterances."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import soundfile

from taste.audio import read_audio
from taste.errors import UtteranceError
from taste.prepare_audio import to_speech
from taste.scores.acoustics import Acoustics, analyse, compare
from taste.scores.definitions import TOLERANCES_MS, Value, consistency
from taste.scores.quality import PESQ_MISSING, intelligibility, mean_opinion, perceptual_quality
from taste.scores.speaker_similarity import cosine
from taste.scores.transcription import Transcriber, Transcript, is_audible
from taste.scores.words import compare_durations, count_word_errors
from taste.speaker import SpeakerEncoder

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Heard:
    """What the scores need of a waveform; None is what a silent or very short one does not have."""

    transcript: Transcript
    dnsmos: float | None
    acoustics: Acoustics | None
    spk_emb: np.ndarray | None


class Listener:
    """The models that judge waveforms; `speaker_encoder` may be missing, then voices are not compared."""

    def __init__(self, transcriber: Transcriber, speaker_encoder: SpeakerEncoder | None) -> None:
        self.transcriber = transcriber
        self.speaker_encoder = speaker_encoder

    def listen(self, utts: Sequence[str], waveforms: Sequence[np.ndarray]) -> list[Heard]:
        """Judge a batch: each (samples,), float32 at 16 kHz."""
        transcripts = self.transcriber.transcribe(waveforms, word_times=True)
        return [self._judge(*each) for each in zip(utts, waveforms, transcripts, strict=True)]

    def _judge(self, utt: str, samples: np.ndarray, transcript: Transcript) -> Heard:
        if not is_audible(samples):
            return Heard(transcript, None, None, None)
        acoustics = attempt(utt, "spectrum", lambda: analyse(samples))
        encoder = self.speaker_encoder
        spk_emb = attempt(utt, "speaker embedding", lambda: encoder.embed(samples)) if encoder else None
        return Heard(transcript, mean_opinion(samples), acoustics, spk_emb)


def attempt(utt: str, what: str, function: Callable[[], T]) -> T | None:
    """The function's value, or None where the utterance has none; which, and why, is logged."""
    try:
        return function()
    except UtteranceError as error:
        logger.warning("%s has no %s: %s", utt, what, error)
        return None


def read_waveform(source: str) -> np.ndarray:
    """Read a sound file as one channel at 16 kHz; a file without samples is an empty waveform, (0,).

    Raises:
        UtteranceError: it is missing or unreadable.
    """
    with contextlib.suppress(soundfile.SoundFileError):  # read_audio says what is wrong with a file
        if soundfile.info(source).frames == 0:
            return np.zeros(0, np.float32)
    return to_speech(*read_audio(source))


def own_values(text: str, heard: Heard) -> dict[str, Value]:
    """Scores that need no original; `text` is the transcript."""
    errors, words = count_word_errors(text, heard.transcript.text)
    values = {"wer": (100 * errors / words, words)} if words else {}
    if heard.dnsmos is not None:
        values["dnsmos"] = (heard.dnsmos, 1)
    return values


def values_against(original: Heard, heard: Heard) -> dict[str, Value]:
    """Scores of a waveform against the original of the same utterance, whose timing may be another."""
    durations = compare_durations(original.transcript.words, heard.transcript.words)
    values: dict[str, Value] = {"words_differ": (100.0 * (not durations.same_count), 1)}
    if durations.compared:
        for tolerance, within in zip(TOLERANCES_MS, durations.within, strict=True):
            values[consistency(tolerance)] = (within / durations.compared, durations.compared)
    if original.spk_emb is not None and heard.spk_emb is not None:
        values["speaker_similarity"] = (cosine(original.spk_emb, heard.spk_emb), 1)
    if original.acoustics is not None and heard.acoustics is not None:
        found = compare(original.acoustics, heard.acoustics)
        each = {"mcd": found.distortion, "f0_correlation": found.f0_correlation, "log_f0_rmse": found.f0_rmse}
        values.update({name: (value, 1) for name, value in each.items() if value is not None})
    return values


def values_in_time(utt: str, original: np.ndarray, samples: np.ndarray) -> dict[str, Value]:
    """Scores of a waveform with the original's timing, against it; both (samples,) at 16 kHz."""
    functions = {"stoi": intelligibility} if PESQ_MISSING else {"stoi": intelligibility, "pesq": perceptual_quality}
    found = {name: attempt(utt, name.upper(), lambda f=f: f(original, samples)) for name, f in functions.items()}
    return {name: (value, 1) for name, value in found.items() if value is not None}
