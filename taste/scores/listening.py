"""The scores of single utterances."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import soundfile

from taste.audio import read_audio
from taste.corpus.prepare_audio import to_speech
from taste.errors import UtteranceError
from taste.scores.acoustics import Acoustics, analyse, compare
from taste.scores.definitions import TOLERANCES_MS, Value, consistency
from taste.scores.quality import PESQ_MISSING, intelligibility, mean_opinion, perceptual_quality
from taste.scores.speaker_similarity import cosine
from taste.scores.transcription import Transcriber, Transcript, is_audible
from taste.scores.words import compare_durations, count_word_errors
from taste.speaker.encoders import SpeakerEncoder

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Heard:
    """What the scores need of a waveform; None is what a silent or very short one does not have."""

    transcript: Transcript
    dnsmos: float | None
    acoustics: Acoustics | None
    spk_emb: np.ndarray | None


@dataclass(frozen=True)
class Hearing:
    """What came of a batch: of each utterance its waveform, (samples,) at 16 kHz, and what was heard; or its fault."""

    heard: dict[str, tuple[np.ndarray, Heard]]
    faults: dict[str, str]


class Listener:
    """The models that judge waveforms; they are loaded by the process that first needs them."""

    def __init__(
        self, load_transcriber: Callable[[], Transcriber], load_speaker_encoder: Callable[[], SpeakerEncoder] | None
    ) -> None:
        """Take what loads the models; without a speaker encoder voices are not compared."""
        self.load_transcriber, self.load_speaker_encoder = load_transcriber, load_speaker_encoder

    @cached_property
    def transcriber(self) -> Transcriber:
        """The model that writes what it hears."""
        return self.load_transcriber()

    @cached_property
    def speaker_encoder(self) -> SpeakerEncoder | None:
        """The model that compares voices."""
        return self.load_speaker_encoder() if self.load_speaker_encoder else None

    def hear(self, batch: Mapping[str, str | None]) -> Hearing:
        """Read and judge waveforms: utterance -> sound file, None where there is none."""
        waveforms: dict[str, np.ndarray] = {}
        faults: dict[str, str] = {}
        for utt, source in batch.items():
            try:
                if source is None:
                    raise UtteranceError("is not in wav.scp")
                waveforms[utt] = read_waveform(source)
            except UtteranceError as error:
                faults[utt] = str(error)
        transcripts = self.transcriber.transcribe(list(waveforms.values()), word_times=True)
        heard = {
            utt: (samples, self._judge(utt, samples, transcript))
            for (utt, samples), transcript in zip(waveforms.items(), transcripts, strict=True)
        }
        return Hearing(heard, faults)

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
