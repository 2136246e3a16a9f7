"""Words and when they are said: word error rate and duration consistency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import jiwer
from whisper.normalizers import EnglishTextNormalizer

from taste.scores.transcription import Word

TOLERANCES_MS = (20, 25, 50)


@cache
def _normalizer() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()


def count_word_errors(transcript: str, heard: str) -> tuple[int, int]:
    """Word errors of what was heard, both texts normalized by Whisper's EnglishTextNormalizer.

    Returns:
        Substitutions, deletions and insertions (jiwer); and the words of the transcript, 0 where nothing of it is left.
    """
    reference, hypothesis = _normalizer()(transcript), _normalizer()(heard)
    words = len(reference.split())
    if not words:
        return 0, 0
    found = jiwer.process_words(reference, hypothesis)
    return found.substitutions + found.deletions + found.insertions, words


@dataclass(frozen=True)
class DurationAgreement:
    """How many words last as long as in the original.

    Attributes:
        same_count: whether as many words were heard as in the original; where not, no word is compared.
        compared: words that are spelt as the original's word at the same place.
        within: for each of `TOLERANCES_MS`, how many of these differ by less.
    """

    same_count: bool
    compared: int
    within: tuple[int, ...]


def compare_durations(original: Sequence[Word], words: Sequence[Word]) -> DurationAgreement:
    """Duration consistency as the official TASTE counts it (TASTE-SpokenLM, `eval_duration_consistency.py`).

    Words are compared place by place, as Whisper writes them. Whisper's times stand on a grid of 20 ms, so "less than
    20 ms" asks for equal durations, "less than 25 ms" and "less than 50 ms" allow a difference of 20 and of 40 ms; the
    differences are rounded to 1 ms first, so that rounding of floats does not decide.
    """
    if len(original) != len(words):
        return DurationAgreement(False, 0, (0,) * len(TOLERANCES_MS))
    differences = [
        round(1000 * abs((a.end - a.start) - (b.end - b.start)))
        for a, b in zip(original, words, strict=True)
        if a.word == b.word
    ]
    within = tuple(sum(difference < tolerance for difference in differences) for tolerance in TOLERANCES_MS)
    return DurationAgreement(True, len(differences), within)
