"""Where the words are in a sequence of units, generated ones too: a forced alignment.

Each word is three states in a row, silence one; a state's units are distributed as they were in the same third of the
word in training data whose word times are known. The likeliest path through the words of a transcript, each state at
least one unit long and silence anywhere between words or nowhere, says how many units each word has. The transcript and
the training data are all it knows: nothing of the utterance that the units are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from taste.errors import UtteranceError
from taste.tables import read_int_table, read_table

PARTS = 3  # states of a word
SMOOTHING = 5.0  # units as frequent as in all of the data that are added to each state's own

Word = tuple[str, float, float]  # the word, its start and end in seconds


def read_words(path: Path) -> dict[str, list[Word]]:
    """Read `utt2words`."""
    words = {}
    for utt, line in read_table(path, "stage 1").items():
        fields = line.split()
        words[utt] = [
            (word, float(start), float(end))
            for word, start, end in zip(fields[::3], fields[1::3], fields[2::3], strict=True)
        ]
    return words


class UnitAligner:
    """Finds the words of a transcript in units."""

    def __init__(self, data_dir: Path, units: int, rate: float) -> None:
        """Count the units of each third of each word, and of what is between words.

        Args:
            data_dir: has `utt2s3` and `utt2words`; utterances without word times are passed over.
            units: how many different ones there are.
            rate: units a second.

        `usual_duration` is then the geometric mean of each word's seconds.
        """
        self.rate = rate
        counts: dict[str, np.ndarray] = {}
        lengths: dict[str, list[float]] = {}
        silence = np.zeros(units)
        words = read_words(data_dir / "utt2words")
        for utt, ids in read_int_table(data_dir / "utt2s3", "stage 5").items():
            if utt not in words:
                continue
            time = (np.arange(len(ids)) + 0.5) / rate
            outside = np.ones(len(ids), dtype=bool)
            for word, start, end in words[utt]:
                lengths.setdefault(word, []).append(end - start)
                inside = (start <= time) & (time < end)
                outside &= ~inside
                part = ((time[inside] - start) / (end - start) * PARTS).astype(int).clip(max=PARTS - 1)
                np.add.at(counts.setdefault(word, np.zeros((PARTS, units))), (part, np.array(ids)[inside]), 1)
            silence += np.bincount(np.array(ids)[outside], minlength=units)
        overall = sum((count.sum(0) for count in counts.values()), silence) + 1
        prior = SMOOTHING * overall / overall.sum()
        self.silence = _log_probability(silence[None], prior)
        self.usual_duration = {word: float(np.exp(np.mean(np.log(each)))) for word, each in lengths.items()}
        self.words = {word: _log_probability(count, prior) for word, count in counts.items()}

    def times(self, ids: Sequence[int], words: Sequence[str]) -> np.ndarray:
        """Start and end of each word in seconds: (words, 2).

        Raises:
            UtteranceError: a word does not occur in the training data, or there are too few units for the words.
        """
        if unknown := [word for word in words if word not in self.words]:
            raise UtteranceError(f"the word {unknown[0]} does not occur in the training data with word times")
        if len(ids) < PARTS * len(words):
            raise UtteranceError(f"{len(ids)} units are too few for {len(words)} words of {PARTS} states each")
        states = [self.silence]
        for word in words:
            states += [self.words[word], self.silence]
        emission = np.concatenate(states)[:, np.asarray(ids)]
        is_silence = np.concatenate([np.arange(len(state)) == (0 if len(state) == 1 else -1) for state in states])
        path = likeliest_path(emission, is_silence)
        part = np.repeat(np.arange(len(states)), [len(state) for state in states])[path]  # 2 w + 1 in word w
        numbers = 2 * np.arange(len(words)) + 1
        return np.stack((np.searchsorted(part, numbers), np.searchsorted(part, numbers, side="right")), 1) / self.rate

    def durations(self, ids: Sequence[int], words: Sequence[str]) -> np.ndarray:
        """The seconds of each word: (words,); errors as of `times`."""
        return np.diff(self.times(ids, words))[:, 0]


def likeliest_path(emission: np.ndarray, may_be_skipped: np.ndarray) -> np.ndarray:
    """The best way from the first to the last state, staying or going on by one; Viterbi's algorithm.

    Args:
        emission: (states, time), log-probability of what is observed.
        may_be_skipped: (states,), true for states that one may go past; never two in a row.

    Returns:
        (time,), the state at each time.
    """
    states, time = emission.shape
    score = np.full(states, -np.inf)
    score[0] = emission[0, 0]
    if may_be_skipped[0]:
        score[1] = emission[1, 0]
    steps = np.zeros((states, time), dtype=np.int8)  # how many states back one was before
    after_skippable = np.concatenate(([False, False], may_be_skipped[1:-1]))
    for t in range(1, time):
        by_one = np.concatenate(([-np.inf], score[:-1]))
        by_two = np.where(after_skippable, np.concatenate(([-np.inf] * 2, score[:-2])), -np.inf)
        candidates = np.stack((score, by_one, by_two))
        steps[:, t] = candidates.argmax(0)
        score = candidates.max(0) + emission[:, t]
    state = states - 1
    if may_be_skipped[-1] and score[-2] > score[-1]:
        state = states - 2
    path = np.empty(time, dtype=int)
    for t in reversed(range(time)):
        path[t] = state
        state -= steps[state, t]
    return path


def _log_probability(counts: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Smoothed: (states, units) counts -> (states, units)."""
    return np.log((counts + prior) / (counts.sum(1, keepdims=True) + prior.sum()))
