"""When each word of a transcript is said, by the attention of Whisper's decoder to the speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import whisper
from whisper.audio import HOP_LENGTH
from whisper.model import Whisper
from whisper.timing import find_alignment
from whisper.tokenizer import Tokenizer, get_tokenizer

from taste.config import WHISPER_TEXT
from taste.errors import UtteranceError


@dataclass(frozen=True)
class Alignment:
    """A transcript laid along the speech.

    Attributes:
        bounds: of each word the times in seconds between which Whisper's tokens of it are said: (tokens + 1,). A word
            begins where the one before it ends, so a pause belongs to one of the two.
        probability: how well the text fits the speech: the geometric mean of the probabilities that Whisper gives each
            token, the speech heard and the tokens before it read.
    """

    bounds: list[np.ndarray]
    probability: float

    def token_times(self, lengths: Sequence[int]) -> np.ndarray:
        """Start and end in seconds of text tokens, of which each word has `lengths`: (tokens, 2).

        Where these are not Whisper's own, a word's time is divided among them in equal parts of its tokens.
        """
        times = []
        for bounds, length in zip(self.bounds, lengths, strict=True):
            own = np.interp(np.linspace(0, 1, length + 1), np.linspace(0, 1, len(bounds)), bounds)
            times.append(np.stack((own[:-1], own[1:]), axis=1))
        return np.concatenate(times)

    def word_times(self) -> np.ndarray:
        """Start and end of each word in seconds: (words, 2)."""
        return np.array([(bounds[0], bounds[-1]) for bounds in self.bounds])


class _TokenByToken(Tokenizer):
    """Whisper's tokenizer, for which each token is a word, as `find_alignment` tells the times of words only."""

    def split_to_word_tokens(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]:
        return [self.decode([token]) for token in tokens], [[token] for token in tokens]


def align(model: Whisper, samples: np.ndarray, words: Sequence[str]) -> Alignment:
    """Lay the words of a transcript along the speech, by `whisper.timing.find_alignment`.

    The times come in steps of 20 ms, and dynamic time warping finds some for any text: of a text that does not fit they
    mean nothing. Word boundaries beside pauses are the least sure.

    Args:
        model: knows English, and has alignment heads.
        samples: (samples,), float32, 16 kHz, at most 30 s.
        words: at least one, without spaces.

    Raises:
        UtteranceError: the text is longer than what Whisper's decoder takes.
    """
    known = get_tokenizer(
        model.is_multilingual, num_languages=model.num_languages, language="en", task="transcribe"
    )  # whose attributes a subclass takes over
    tokenizer = _TokenByToken(known.encoding, known.num_languages, known.language, known.task)
    ids = [known.encoding.encode_ordinary(f" {word}") for word in words]
    tokens = [token for word in ids for token in word]
    if len(tokens) > WHISPER_TEXT:
        raise UtteranceError(f"the text has {len(tokens)} tokens for one piece; Whisper's decoder takes {WHISPER_TEXT}")
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples), model.dims.n_mels).to(model.device)
    found = find_alignment(model, tokenizer, tokens, mel, len(samples) // HOP_LENGTH)
    bounds = np.array([found[0].start, *(token.end for token in found)])
    ends = np.cumsum([len(word) for word in ids])
    log_probability = np.mean(np.log([max(token.probability, 1e-10) for token in found]))
    return Alignment(
        [bounds[end - len(word) : end + 1] for end, word in zip(ends, ids, strict=True)],
        float(np.exp(log_probability)),
    )
