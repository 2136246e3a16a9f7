"""Speech as text-aligned tokens: what `TasteTokenizer` makes of a recording, and its line of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from taste.editing.edits import EDITED, Edit, replace_tokens, shared_words
from taste.errors import RecipeError, UtteranceError

OWN, DONOR = "own", "donor"


@dataclass(frozen=True)
class SpeechTokens:
    """A recording: for each text token its TASTE token, and what else is needed to say it again.

    Attributes:
        utt: name of the recording; with a seed it decides the random numbers of `TasteTokenizer.decode`.
        model_sha256: of the weights of the system whose tokens they are.
        text: the transcript, in lower case.
        words: the words of the text.
        word_tokens: how many text tokens each word has.
        word_times: (words, 2), start and end in seconds.
        ids: (tokens,), the text tokens.
        strings: their texts; a token that is part of a character holds U+FFFD.
        times: (tokens, 2), start and end in seconds.
        codes: (tokens, codebooks), the TASTE tokens; None of a system without quantizer.
        embeddings: (tokens, dim) float32, `z` of a system without quantizer; None with one, and of text only.
        spk_emb: (dim,) float32, speaker embedding; of a recording in pieces the mean of theirs.
        pieces: how many text tokens each of the pieces has that were tokenized one by one; one piece up to 30 s.
        probability: how well the text fits, as `taste.text.alignment.Alignment.probability`; the least of the pieces.
    """

    utt: str
    model_sha256: str
    text: str
    words: list[str]
    word_tokens: list[int]
    word_times: np.ndarray
    ids: np.ndarray
    strings: list[str]
    times: np.ndarray
    codes: np.ndarray | None
    embeddings: np.ndarray | None
    spk_emb: np.ndarray
    pieces: list[int]
    probability: float

    def with_words_of(self, donor: SpeechTokens, words: Sequence[str]) -> SpeechTokens:
        """The same recording with the tokens of some words as another recording of the same system has them.

        Of a word that occurs several times in both, the first goes with the first, and so on.

        Raises:
            UtteranceError: a word is not in both, has another number of tokens there, or there are no tokens.
            RecipeError: the two are from different systems.
        """
        if self.model_sha256 != donor.model_sha256:
            raise RecipeError(f"{self.utt} and {donor.utt} were tokenized by different systems; take the same for both")
        wanted = [word.lower() for word in words]
        pairs = [pair for pair in shared_words(self.words, donor.words) if self.words[pair[0]] in wanted]
        for word in wanted:
            if word not in {self.words[own] for own, _ in pairs}:
                raise UtteranceError(
                    f"{word!r} is not said in both: {self.utt} has {self.text!r}, {donor.utt} has {donor.text!r}"
                )
        for own, its in pairs:
            if self.word_tokens[own] != donor.word_tokens[its]:
                raise UtteranceError(
                    f"{self.words[own]!r} has {self.word_tokens[own]} tokens in {self.utt} and "
                    f"{donor.word_tokens[its]} in {donor.utt}, as the first word of a text has no space before it; "
                    "take another word"
                )
        name = "codes" if self.codes is not None else "embeddings"
        if getattr(self, name) is None:
            raise UtteranceError("a system without aggregator has no tokens of speech to exchange")
        tokens = {OWN: getattr(self, name), DONOR: getattr(donor, name)}
        lengths = {OWN: self.word_tokens, DONOR: donor.word_tokens}
        edited = replace_tokens({OWN: Edit(OWN, DONOR, tuple(pairs))}, tokens, lengths, seed=0)[EDITED][OWN]
        return replace(self, **{name: edited})

    def record(self) -> dict[str, Any]:
        """What its line of JSON holds: JSON's types only, times in seconds."""
        words = zip(self.words, self.word_tokens, _seconds(self.word_times), strict=True)
        codes = [{"codes": row} for row in self.codes.tolist()] if self.codes is not None else [{} for _ in self.ids]
        if self.embeddings is not None:
            codes = [{"embedding": row} for row in self.embeddings.tolist()]
        tokens = zip(self.ids.tolist(), self.strings, codes, _seconds(self.times), strict=True)
        return {
            "utt": self.utt,
            "text": self.text,
            "tokens": [
                {"token": string, "id": number, **code, "start": start, "end": end}
                for number, string, code, (start, end) in tokens
            ],
            "words": [{"word": word, "tokens": n, "start": start, "end": end} for word, n, (start, end) in words],
            "pieces": self.pieces,
            "probability": round(self.probability, 3),
            "model_sha256": self.model_sha256,
            "spk_emb": self.spk_emb.tolist(),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], where: str) -> SpeechTokens:
        """What `record` was made of.

        Args:
            where: it comes from, for the message.

        Raises:
            RecipeError: it is no such record.
        """
        try:
            words, tokens = record["words"], record["tokens"]
            has_codes, has_embeddings = ("codes" in tokens[0]), ("embedding" in tokens[0])
            return cls(
                utt=record["utt"],
                model_sha256=record["model_sha256"],
                text=record["text"],
                words=[word["word"] for word in words],
                word_tokens=[word["tokens"] for word in words],
                word_times=np.array([(word["start"], word["end"]) for word in words]),
                ids=np.array([token["id"] for token in tokens]),
                strings=[token["token"] for token in tokens],
                times=np.array([(token["start"], token["end"]) for token in tokens]),
                codes=np.array([token["codes"] for token in tokens]) if has_codes else None,
                embeddings=np.array([t["embedding"] for t in tokens], dtype=np.float32) if has_embeddings else None,
                spk_emb=np.array(record["spk_emb"], dtype=np.float32),
                pieces=record["pieces"],
                probability=record["probability"],
            )
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise RecipeError(f"{where} is no line of `python -m taste tokenize` ({error!r})") from error


def _seconds(times: np.ndarray) -> list[list[float]]:
    return np.round(times, 3).tolist()
