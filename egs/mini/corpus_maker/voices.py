"""Neutral speech with word times, from Debian's flite and espeak-ng."""

from __future__ import annotations

import ctypes
import itertools
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from taste.errors import RecipeError, UtteranceError

ESPEAK_WORDS_A_MINUTE = 165
# Of espeak-ng's speak_lib.h: espeak_AUDIO_OUTPUT, espeak_INITIALIZE_*, espeak_PARAMETER, espeak_EVENT_TYPE, flags.
_SYNCHRONOUS, _PHONEME_EVENTS, _RATE, _UTF8 = 2, 1, 1, 1
_EVENT_WORD, _EVENT_PHONEME = 1, 7


@dataclass(frozen=True)
class Voice:
    """A voice of a synthesizer, as a speaker of the corpus."""

    speaker: str  # numeric, as LibriSpeech's
    sex: str  # M or F: of the speaker who was recorded, or whom espeak-ng imitates
    engine: str  # flite or espeak-ng
    name: str  # as the engine calls it


@dataclass(frozen=True)
class Speech:
    """Speech with its word times: samples (samples,), float64 in [-1, 1]; rate in Hz; (start, end) in s by word."""

    samples: np.ndarray
    rate: int
    words: list[tuple[float, float]]


def speak(voice: Voice, words: list[str]) -> Speech:
    """Have `voice` say `words` as one sentence, without silence around it.

    Raises:
        RecipeError: the synthesizer is not installed or fails.
        UtteranceError: its phones or word events do not tell where the words are.
    """
    speech = {"flite": _flite, "espeak-ng": _espeak}[voice.engine](voice.name, words)
    start, end = speech.words[0][0], speech.words[-1][1]
    samples = speech.samples[round(start * speech.rate) : round(end * speech.rate)]
    return Speech(samples, speech.rate, [(a - start, b - start) for a, b in speech.words])


def _run_flite(name: str, text: str, wav: str, *options: str) -> str:
    try:
        result = subprocess.run(
            ["flite", "-voice", name, *options, "-t", text, "-o", wav], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise RecipeError(f"flite failed ({error}); apt-get install flite") from error
    return result.stdout


def _flite_phones(name: str, word: str) -> list[str]:
    phones = _run_flite(name, word, "none", "-ps").split()
    return [phone for phone in phones if phone != "pau"]


def _flite(name: str, words: list[str]) -> Speech:
    """Flite prints the end time of each phone; which phones are a word's, the word said alone tells."""
    with tempfile.TemporaryDirectory() as folder:
        wav = str(Path(folder) / "speech.wav")
        printed = _run_flite(name, " ".join(words), wav, "-psdur")
        samples, rate = soundfile.read(wav)
    phones = [(phone, float(end)) for phone, end in re.findall(r"(\S+):(\S+)", printed)]
    ends = [end for _, end in phones]
    starts = [0.0, *ends[:-1]]
    spoken = [i for i, (phone, _) in enumerate(phones) if phone != "pau"]
    times, position = [], 0
    for word in words:
        count = len(_flite_phones(name, word))
        own = spoken[position : position + count]
        if len(own) < count or own[-1] - own[0] != count - 1:
            raise UtteranceError(f"flite's phones do not split into the words {words}: {printed}")
        times.append((starts[own[0]], ends[own[-1]]))
        position += count
    if position != len(spoken):
        raise UtteranceError(f"flite's phones do not split into the words {words}: {printed}")
    return Speech(samples, rate, times)


class _EspeakEvent(ctypes.Structure):
    """`espeak_EVENT` of espeak-ng's speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_EspeakCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_EspeakEvent)
)


def _espeak(name: str, words: list[str]) -> Speech:
    """espeak-ng reports the sample at which each word and phoneme starts; a pause is a phoneme `_`.

    The library keeps state from one sentence to the next: the same samples come again only from a new process.
    """
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError as error:
        raise RecipeError(f"libespeak-ng cannot be loaded ({error}); apt-get install espeak-ng") from error
    pieces: list[np.ndarray] = []
    starts: list[int] = []
    pauses: list[int] = []

    @_EspeakCallback
    def collect(wave: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:
        if wave and count:
            pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while events[index].type:
            event = events[index]
            if event.type == _EVENT_WORD:
                starts.append(event.sample)
            elif event.type == _EVENT_PHONEME and event.id.startswith(b"_"):
                pauses.append(event.sample)
            index += 1
        return 0

    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
    library.espeak_SetSynthCallback(collect)
    if library.espeak_SetVoiceByName(name.encode()):
        raise RecipeError(f"espeak-ng has no voice {name}; espeak-ng --voices lists them")
    library.espeak_SetParameter(_RATE, ESPEAK_WORDS_A_MINUTE, 0)
    text = " ".join(words).encode()
    library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _UTF8, None, None)
    if len(starts) != len(words) or not pauses:
        raise UtteranceError(f"espeak-ng reports {len(starts)} words for {words}")
    edges = [start / rate for start in [*starts, min(p for p in pauses if p > starts[-1])]]
    return Speech(np.concatenate(pieces) / 32768, rate, list(itertools.pairwise(edges)))
