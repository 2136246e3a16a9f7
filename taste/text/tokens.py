"""Text as token ids: Whisper's own, or those of a sentencepiece model trained by the recipe."""

from __future__ import annotations

import contextlib
import io
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import sentencepiece
import whisper.tokenizer

from taste.errors import RecipeError, UtteranceError
from taste.files import atomic_path, require, sha256
from taste.tables import read_table

TOKEN_TYPES = ("whisper", "sentencepiece")


class TextTokenizer(ABC):
    """Lower-cased words as token ids; tokens never reach across words, and all but the first carry their space."""

    token_type: str
    vocab_size: int

    @abstractmethod
    def _encode_word(self, word: str, first: bool) -> list[int]:
        """Token ids of one word."""

    @abstractmethod
    def decode(self, ids: list[int]) -> str:
        """The text of token ids, in lower case."""

    def encode_words(self, text: str) -> list[list[int]]:
        """Token ids of each word of a transcript.

        Raises:
            UtteranceError: the transcript is empty.
        """
        words = normalize(text).split(" ")
        return [self._encode_word(word, first=index == 0) for index, word in enumerate(words)]

    def encode(self, text: str) -> list[int]:
        """Token ids of a transcript, without prefix.

        Raises:
            UtteranceError: the transcript is empty.
        """
        return [token for word in self.encode_words(text) for token in word]

    def word_lengths(self, text: str) -> list[int]:
        """The number of tokens of each word; their sum is the length of `encode(text)`.

        Raises:
            UtteranceError: the transcript is empty.
        """
        return [len(word) for word in self.encode_words(text)]

    def record(self) -> dict[str, Any]:
        """What `tokens.json` says: `token_type` and `vocab_size`."""
        return {"token_type": self.token_type, "vocab_size": self.vocab_size}


class WhisperTokenizer(TextTokenizer):
    """Whisper's multilingual ids with 100 languages (51,866 of them), those of CosyVoice-300M."""

    token_type = "whisper"

    def __init__(self) -> None:
        self._encoding = whisper.tokenizer.get_tokenizer(multilingual=True, num_languages=100).encoding
        self.vocab_size = self._encoding.n_vocab

    def _encode_word(self, word: str, first: bool) -> list[int]:
        # ordinary: "<|endoftext|>" in a transcript is text, not a control token
        return self._encoding.encode_ordinary(word if first else f" {word}")

    def decode(self, ids: list[int]) -> str:
        """The text of token ids, in lower case; bytes that are no UTF-8 become U+FFFD."""
        return self._encoding.decode(ids)


class SentencePieceTokenizer(TextTokenizer):
    """A sentencepiece model, as `train_sentencepiece` makes it.

    Raises:
        RecipeError: the model is missing or is no sentencepiece model.
    """

    token_type = "sentencepiece"

    def __init__(self, model: str | Path) -> None:
        require(model, "local/train_sentencepiece.py (stage 4)")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        except (RuntimeError, OSError) as error:
            raise RecipeError(f"{model} is no sentencepiece model ({error}); train it again") from error
        self.vocab_size = self._processor.vocab_size()
        self._model_sha256 = sha256(model)

    def _encode_word(self, word: str, first: bool) -> list[int]:
        return self._processor.encode(word)  # each word begins with the mark of a space, the first one too

    def decode(self, ids: list[int]) -> str:
        """The text of token ids, in lower case; unknown characters become ⁇."""
        return self._processor.decode(ids)

    def record(self) -> dict[str, Any]:
        """What `tokens.json` says: `token_type`, `vocab_size` and `model_sha256`."""
        return {**super().record(), "model_sha256": self._model_sha256}


def load_text_tokenizer(token_type: str, model: str | Path | None = None) -> TextTokenizer:
    """Load the tokenizer `token_type`, one of `TOKEN_TYPES`.

    Args:
        token_type: `whisper` (its ids come with openai-whisper: no download) or `sentencepiece`.
        model: the sentencepiece model.

    Raises:
        RecipeError: no such type, or no such model.
    """
    if token_type == "whisper":
        return WhisperTokenizer()
    if token_type != "sentencepiece":
        raise RecipeError(f"--token_type {token_type}: it is one of {', '.join(TOKEN_TYPES)}")
    if not model:
        raise RecipeError("--token_type sentencepiece needs the --sentencepiece_model of local/train_sentencepiece.py")
    return SentencePieceTokenizer(model)


def normalize(text: str) -> str:
    """Lower case, words apart by one space. LibriSpeech's capitals would cost almost twice as many of Whisper's tokens.

    Raises:
        UtteranceError: nothing is left.
    """
    normalized = " ".join(text.lower().split())
    if not normalized:
        raise UtteranceError("the transcript is empty")
    return normalized


def train_sentencepiece(data_dir: str | Path, model: str | Path, vocab_size: int) -> None:
    """Train a unigram sentencepiece model on the transcripts of a data directory; every character keeps a piece.

    Args:
        data_dir: its `text` is read.
        model: the file to write, e.g. `exp/sentencepiece/500.model`.
        vocab_size: number of pieces, `<unk>`, `<s>` and `</s>` among them.

    Raises:
        RecipeError: no transcripts, or too few of them for so many pieces.
    """
    sentences = []
    for text in read_table(Path(data_dir, "text"), "stage 1").values():
        with contextlib.suppress(UtteranceError):
            sentences.append(normalize(text))
    trained = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=trained, vocab_size=vocab_size, character_coverage=1.0,
            normalization_rule_name="identity", num_threads=1, minloglevel=1,
        )  # fmt: skip
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[-1]
        raise RecipeError(f"no sentencepiece model of {vocab_size} pieces from {data_dir}/text ({reason})") from error
    with atomic_path(model) as partial:
        partial.write_bytes(trained.getvalue())
