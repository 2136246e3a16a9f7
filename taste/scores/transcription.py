"""What Whisper hears: transcripts and, where asked for, the time of each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import whisper
from torch import Tensor, nn
from whisper.audio import HOP_LENGTH
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.model import Whisper
from whisper.timing import find_alignment, merge_punctuations
from whisper.tokenizer import get_tokenizer

from taste.audio import SAMPLE_RATE
from taste.fixed_linear import FixedLinear
from taste.precision import compute_dtype
from taste.whisper.features import LAST, WINDOW_SAMPLES, encode
from taste.whisper.weights import load_whisper

BATCH = 8
WINDOWS = (10 * SAMPLE_RATE, 20 * SAMPLE_RATE, WINDOW_SAMPLES)
MAX_TOKENS = 224  # half of Whisper's context, which is openai-whisper's own limit
# as in openai-whisper's `transcribe`: what is unlikely to be speech and unlikely to be this text is none
NO_SPEECH_PROBABILITY = 0.6
NO_SPEECH_LOGPROB = -1.0
# the punctuation that `whisper.timing.add_word_timestamps` joins to the word after and before it
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True)
class Word:
    """A word as Whisper writes it, punctuation and capitals included, with its times in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Transcript:
    """What was heard in one utterance; `words` is empty where no times were asked for."""

    text: str
    words: list[Word] = field(default_factory=list)


class _DecoderOfEncoded:
    """What `find_alignment` needs of a Whisper model, but the decoder is given what the encoder made already."""

    def __init__(self, model: Whisper) -> None:
        self.decoder, self.dims, self.device = model.decoder, model.dims, model.device
        self.alignment_heads = model.alignment_heads

    def __call__(self, encoded: Tensor, tokens: Tensor) -> Tensor:
        return self.decoder(tokens, encoded)


class Transcriber:
    """Greedy English transcripts by a Whisper model, of audio in a `window`.

    The encoder runs once a batch, in `taste.precision.compute_dtype`'s type; decoder and word times share its output.
    """

    def __init__(
        self, name: str, pretrained_dir: str | Path, device: torch.device, max_tokens: int = MAX_TOKENS
    ) -> None:
        """Load the model `name`, see `taste.whisper.weights.load_whisper`.

        Args:
            max_tokens: longer transcripts are cut; what goes on so long is a hallucination.
        """
        self.name = name
        self.model = load_whisper(name, pretrained_dir).to(device)
        for layer in self.model.decoder.modules():
            if isinstance(layer, nn.Linear):
                layer.forward = FixedLinear.of(layer, torch.float32)
                layer.weight = layer.bias = None  # which it has now
        self.dtype = compute_dtype("auto", device)
        self.options = DecodingOptions(
            language="en", without_timestamps=True, fp16=False, sample_len=min(max_tokens, MAX_TOKENS)
        )
        multilingual = self.model.is_multilingual
        self.tokenizer = get_tokenizer(
            multilingual, num_languages=self.model.num_languages, language="en", task="transcribe"
        )

    @torch.inference_mode()
    def transcribe(self, samples: Sequence[np.ndarray], word_times: bool = False) -> list[Transcript]:
        """Transcribe a batch.

        Args:
            samples: each (samples,), float32 in [-1, 1], 16 kHz; what exceeds 30 s is cut off. Audio that is empty or
                silent from beginning to end holds no words, and Whisper is not asked.
            word_times: also find when each word was said, by `whisper.timing.find_alignment`.
        """
        transcripts = [Transcript("")] * len(samples)
        windows = [window(len(each)) if is_audible(each) else 0 for each in samples]
        for size in sorted(set(windows) - {0}):
            alike = [index for index, each in enumerate(windows) if each == size]
            found = self._in_window([samples[index] for index in alike], size, word_times)
            for index, transcript in zip(alike, found, strict=True):
                transcripts[index] = transcript
        return transcripts

    def _in_window(self, samples: Sequence[np.ndarray], size: int, word_times: bool) -> list[Transcript]:
        """Transcribe utterances that are padded to the same size."""
        layers = encode(self.model, [whisper.pad_or_trim(each, size) for each in samples], [LAST], dtype=self.dtype)
        encoded = torch.stack([torch.from_numpy(each[LAST]) for each in layers]).to(self.model.device)
        self.model.dims.n_audio_ctx = encoded.shape[1]  # by which `decode` knows what is encoded already
        transcripts = []
        for utterance, each, result in zip(
            samples, encoded, whisper.decode(self.model, encoded, self.options), strict=True
        ):
            is_speech = heard(result)
            words = self._word_times(result, each, len(utterance)) if is_speech and word_times else []
            transcripts.append(Transcript(result.text if is_speech else "", words))
        return transcripts

    def _word_times(self, result: DecodingResult, encoded: Tensor, samples: int) -> list[Word]:
        frames = min(samples // HOP_LENGTH, whisper.audio.N_FRAMES)
        threads = torch.get_num_threads()
        found = find_alignment(_DecoderOfEncoded(self.model), self.tokenizer, result.tokens, encoded, frames)
        torch.set_num_threads(threads)  # its time warping, by numba, has torch use all processors from then on
        merge_punctuations(found, PREPENDED, APPENDED)
        return [Word(each.word.strip(), float(each.start), float(each.end)) for each in found if each.word.strip()]


def window(samples: int) -> int:
    """The samples that an utterance is padded to: 10, 20 or 30 s, half of which is silence where it can be.

    Whisper was trained on windows of 30 s, most of which is silence behind an utterance of LibriSpeech. In 10 s it errs
    as often in utterances of 5 s (of egs/mini, recorded and synthesized, 9 to 21 words in a hundred) and puts a word's
    beginning within 0.02 s of where it does in 30 s, at a third of the cost; in 6 s it repeats itself without end.
    """
    return next((size for size in WINDOWS if 2 * samples <= size), WINDOWS[-1])


def heard(result: DecodingResult) -> bool:
    """Whether Whisper takes the audio for speech, by the rule of openai-whisper's `transcribe`."""
    return result.no_speech_prob <= NO_SPEECH_PROBABILITY or result.avg_logprob >= NO_SPEECH_LOGPROB


def is_audible(samples: np.ndarray) -> bool:
    """Whether a waveform has samples that differ from each other; a constant is silence."""
    return len(samples) > 0 and float(np.ptp(samples)) > 0
