"""What Whisper hears: transcripts and, where asked for, the time of each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import whisper
from torch import Tensor
from whisper.audio import HOP_LENGTH
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.model import Whisper
from whisper.timing import find_alignment, merge_punctuations
from whisper.tokenizer import get_tokenizer

from taste.precision import compute_dtype
from taste.whisper_weights import load_whisper

BATCH = 8
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
    """Greedy English transcripts by a Whisper model, of audio padded to 30 s, as Whisper was trained.

    The encoder runs once a batch, in `taste.precision.compute_dtype`'s type; decoder and word times share its output.
    """

    def __init__(
        self, name: str, pretrained_dir: str | Path, device: torch.device, max_tokens: int = MAX_TOKENS
    ) -> None:
        """Load the model `name`, see `taste.whisper_weights.load_whisper`.

        Args:
            max_tokens: longer transcripts are cut; what goes on so long is a hallucination.
        """
        self.name = name
        self.model = load_whisper(name, pretrained_dir).to(device)
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
        audible = [index for index, each in enumerate(samples) if is_audible(each)]
        if not audible:
            return transcripts
        device = self.model.device
        padded = [torch.from_numpy(whisper.pad_or_trim(samples[index])) for index in audible]
        mel = torch.stack([whisper.log_mel_spectrogram(each, self.model.dims.n_mels) for each in padded]).to(device)
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            encoded = self.model.encoder(mel).float()  # (batch, 1500, dim)
        for index, each, result in zip(
            audible, encoded, whisper.decode(self.model, encoded, self.options), strict=True
        ):
            if heard(result):
                words = self._word_times(result, each, len(samples[index])) if word_times else []
                transcripts[index] = Transcript(result.text, words)
        return transcripts

    def _word_times(self, result: DecodingResult, encoded: Tensor, samples: int) -> list[Word]:
        frames = min(samples // HOP_LENGTH, whisper.audio.N_FRAMES)
        found = find_alignment(_DecoderOfEncoded(self.model), self.tokenizer, result.tokens, encoded, frames)
        merge_punctuations(found, PREPENDED, APPENDED)
        return [Word(each.word.strip(), float(each.start), float(each.end)) for each in found if each.word.strip()]


def heard(result: DecodingResult) -> bool:
    """Whether Whisper takes the audio for speech, by the rule of openai-whisper's `transcribe`."""
    return result.no_speech_prob <= NO_SPEECH_PROBABILITY or result.avg_logprob >= NO_SPEECH_LOGPROB


def is_audible(samples: np.ndarray) -> bool:
    """Whether a waveform has samples that differ from each other; a constant is silence."""
    return len(samples) > 0 and float(np.ptp(samples)) > 0
