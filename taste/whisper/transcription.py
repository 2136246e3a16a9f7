"""What is said in a recording of any length, as Whisper hears it, written as LibriSpeech's transcripts are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import whisper
from whisper.model import Whisper
from whisper.tokenizer import get_tokenizer

from taste.audio import MAX_SECONDS, SAMPLE_RATE

MARGIN = 0.5  # seconds of silence that a piece keeps on either side
# Above which a window holds no speech. Whisper base gives silence, noise and tones 0.72 to 0.94 and speech of
# LibriSpeech and egs/mini up to 0.06. openai-whisper's `transcribe` takes the text all the same where it is sure of it,
# and hears "you" in silence.
NO_SPEECH = 0.6
SPOKEN = {"mr.": "mister", "mrs.": "missus", "dr.": "doctor"}  # as LibriSpeech writes what Whisper shortens


@dataclass(frozen=True)
class Passage:
    """What is said between two times of a recording, in seconds."""

    start: float
    end: float
    text: str


def transcribe(model: Whisper, samples: np.ndarray) -> list[Passage]:
    """The sentences, or parts of such, that Whisper hears in English speech, in order; none where there is no speech.

    Digits are not among what it may write, so numbers come as words. Where it has to sample, as openai-whisper's
    `transcribe` does when it gets stuck, the random numbers are the same each time.

    Args:
        samples: (samples,), float32, 16 kHz.
    """
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(0)
        result = whisper.transcribe(
            model, samples, language="en", fp16=False, condition_on_previous_text=False,
            suppress_tokens=[-1, *_tokens_with_digits(model)],
        )  # fmt: skip
    duration = len(samples) / SAMPLE_RATE
    passages = []
    for segment in result["segments"]:
        text = spoken_form(segment["text"])
        start, end = (min(max(0.0, segment[name]), duration) for name in ("start", "end"))
        if text and start < end and segment["no_speech_prob"] <= NO_SPEECH:
            passages.append(Passage(start, end, text))
    return passages


def spoken_form(text: str) -> str:
    """Words as LibriSpeech writes them: lower case, of letters, digits and apostrophes, one space between them."""
    words = [SPOKEN.get(word, word) for word in text.lower().replace("’", "'").split()]
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in " ".join(words))
    return " ".join(word for word in kept.split() if any(c.isalnum() for c in word))


def _tokens_with_digits(model: Whisper) -> list[int]:
    encoding = get_tokenizer(model.is_multilingual, num_languages=model.num_languages).encoding
    tokens = range(encoding.eot_token)
    return [token for token in tokens if any(c in b"0123456789" for c in encoding.decode_single_token_bytes(token))]


def cut_into_pieces(passages: Sequence[Passage], duration: float) -> list[Passage]:
    """Join passages to pieces of at most 30 s, which end where a passage does.

    A piece keeps up to half a second of the silence around it; longer silences belong to none.

    Args:
        duration: of the recording, in seconds.
    """
    pieces: list[Passage] = []
    for index, passage in enumerate(passages):
        before = passages[index - 1].end if index else 0.0
        after = passages[index + 1].start if index + 1 < len(passages) else duration
        start = max((before + passage.start) / 2 if index else 0.0, passage.start - MARGIN)
        end = min((passage.end + after) / 2 if index + 1 < len(passages) else duration, passage.end + MARGIN)
        end = min(end, start + MAX_SECONDS)
        if pieces and end - pieces[-1].start <= MAX_SECONDS:
            pieces[-1] = Passage(pieces[-1].start, end, f"{pieces[-1].text} {passage.text}")
        else:
            pieces.append(Passage(start, end, passage.text))
    return pieces
