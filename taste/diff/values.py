"""What differs between two values of a table: numbers, sequences, arrays, audio, records.

Values count as the same where they say the same, however they are written: `3.5` and `3.50`, the same array in another
archive, the same samples in another file.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from rapidfuzz.distance import Levenshtein

from taste.archives import read_array
from taste.audio import read_audio
from taste.errors import RecipeError

NUMBERS = ("utt2dur", "reco2dur", "utt2num_frames", "segments", "utt2words")  # also among words
SEQUENCES = {"text": "word", "utt2s3": "unit", "utt2token": "token", "utt2word_tokens": "number", "utt2taste": "index"}
SHOWN_ELEMENTS = 8


Describe: TypeAlias = Callable[[], str]


class ValueDiff(Protocol):
    """Compares the values of one table, an id at a time, and sums up."""

    def difference(self, key: str, a: str, b: str) -> Describe | None:
        """Compare two values that are written differently.

        Returns:
            What tells people what differs, made only where it is asked for; None where the values say the same.

        Raises:
            RecipeError: what a value stands for cannot be read.
        """

    def figures(self) -> dict[str, Any]:
        """Figures over all values so far, by name; empty where there is nothing to tell."""


def value_diff(name: str, tolerance: float, allow_pipes: bool, unshared: Set[bytes]) -> ValueDiff:
    """The comparison that fits the table `name`.

    Args:
        name: of the file.
        tolerance: relative distance up to which arrays and audio count as the same.
        allow_pipes: whether commands of `wav.scp` may be run.
        unshared: the utterances that one directory only has.
    """
    if name == "wav.scp":
        return AudioDiff(tolerance, allow_pipes)
    if name.endswith(".scp"):
        return ArrayDiff(tolerance)
    if name == "data.jsonl":
        return RecordDiff()
    if name == "spk2utt":
        return SpeakerDiff(unshared)
    if name in SEQUENCES:
        return SequenceDiff(SEQUENCES[name])
    return NumberDiff() if name in NUMBERS else PlainDiff()


class PlainDiff:
    """Values that are the same only where they are written the same (speakers)."""

    def difference(self, key: str, a: str, b: str) -> Describe | None:
        """As `ValueDiff`."""
        return lambda: f"{a} → {b}"

    def figures(self) -> dict[str, Any]:
        """No figures."""
        return {}


class NumberDiff:
    """Fields parted by white space, some of them numbers (durations, times of words and segments).

    Figures: `mean` and `largest` size of the differences in the numbers that differ, `largest_id` where it is, and
    `sum`, of B minus A. Where the words differ, or the number of fields, there is no figure.
    """

    def __init__(self) -> None:
        self.count, self.size, self.sum = 0, 0.0, 0.0
        self.largest, self.largest_id = 0.0, ""

    def difference(self, key: str, a: str, b: str) -> Describe | None:
        """As `ValueDiff`."""
        x, y = a.split(), b.split()
        try:
            changes = [float(new) - float(old) for old, new in zip(x, y, strict=True) if old != new]
        except ValueError:
            return lambda: sequence_change(x, y, "field")
        changes = [change for change in changes if change]
        if not changes:
            return None
        largest = max(changes, key=abs)
        self.count += len(changes)
        self.size += math.fsum(map(abs, changes))
        self.sum += math.fsum(changes)
        if abs(largest) > self.largest:
            self.largest, self.largest_id = abs(largest), key
        return lambda: f"{sequence_change(x, y, 'field')} ({largest:+.4g})"

    def figures(self) -> dict[str, Any]:
        """As the class says."""
        if not self.count:
            return {}
        mean = self.size / self.count
        return {"mean": mean, "largest": self.largest, "largest_id": self.largest_id, "sum": self.sum}


class SequenceDiff:
    """Sequences of words, units or tokens: their edit distance (Levenshtein).

    Figures over the values that differ: `edits` that make B's of A's, `elements` of A's, `edit_rate`, the former by the
    latter, and `largest` and `largest_id`, the most edits of one value.
    """

    def __init__(self, element: str) -> None:
        self.element = element
        self.edits = self.elements = self.largest = 0
        self.largest_id = ""

    def difference(self, key: str, a: str, b: str) -> Describe | None:
        """As `ValueDiff`."""
        return self._difference(key, a.split(), b.split())

    def _difference(self, key: str, x: list[str], y: list[str]) -> Describe | None:
        if x == y:
            return None
        edits = Levenshtein.distance(x, y)
        self.edits += edits
        self.elements += len(x)
        if edits > self.largest:
            self.largest, self.largest_id = edits, key
        return lambda: f"{edits} edit{'s' * (edits != 1)}, {sequence_change(x, y, self.element)}"

    def figures(self) -> dict[str, Any]:
        """As the class says."""
        if not self.edits:
            return {}
        rate = self.edits / self.elements if self.elements else None
        most = {"largest": self.largest, "largest_id": self.largest_id}
        return {"edits": self.edits, "elements": self.elements, "edit_rate": rate, **most}


class SpeakerDiff(SequenceDiff):
    """Speakers' utterances, of which those that one directory only has are told elsewhere and count for nothing."""

    def __init__(self, unshared: Set[bytes]) -> None:
        super().__init__("utterance")
        self.unshared = unshared

    def difference(self, key: str, a: str, b: str) -> Describe | None:
        """As `ValueDiff`."""
        return self._difference(key, self._shared(a), self._shared(b))

    def _shared(self, utts: str) -> list[str]:
        return [utt for utt in utts.split() if utt.encode(errors="surrogateescape") not in self.unshared]


class ArrayDiff:
    """Arrays in archives: their shapes, and the norm of the difference relative to the larger of both norms.

    Figures over the arrays that had to be read: `read`; `equal`, `within_tolerance`, `other_shape`, `not_finite`, how
    many there are of each; over those of equal shape that are not equal, `mean` and `largest` of the relative distance
    and `largest_id`.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.counts: Counter[str] = Counter()
        self.sum = self.largest = 0.0
        self.largest_id = ""

    def difference(self, key: str, a: str, b: str) -> Describe | None:
        """As `ValueDiff`."""
        return self._difference(key, read_array(a), read_array(b))

    def _difference(self, key: str, x: np.ndarray, y: np.ndarray) -> Describe | None:
        self.counts["read"] += 1
        if x.shape != y.shape:
            self.counts["other_shape"] += 1
            return lambda: f"shape {x.shape} → {y.shape}"
        if np.array_equal(x, y, equal_nan=True):
            self.counts["equal"] += 1
            return None
        x, y = x.astype(np.float32, copy=False), y.astype(np.float32, copy=False)
        with np.errstate(all="ignore"):
            apart = x - y
            distance = float(np.linalg.norm(apart) / max(np.linalg.norm(x), np.linalg.norm(y)))
        if not math.isfinite(distance):
            self.counts["not_finite"] += 1
            return lambda: "NaN or infinite values, not the same in both"
        self.counts["measured"] += 1
        self.sum += distance
        if distance > self.largest:
            self.largest, self.largest_id = distance, key
        if distance <= self.tolerance:
            self.counts["within_tolerance"] += 1
            return None
        largest = np.abs(apart).max()
        return lambda: f"relative distance {distance:.2g}, largest difference of a value {largest:.2g}"

    def figures(self) -> dict[str, Any]:
        """As the class says."""
        names = ("read", "equal", "within_tolerance", "other_shape", "not_finite")
        counts = {name: self.counts[name] for name in names} if self.counts["read"] else {}
        if not self.counts["measured"]:
            return counts
        mean = self.sum / self.counts["measured"]
        return {**counts, "mean": mean, "largest": self.largest, "largest_id": self.largest_id}


class AudioDiff(ArrayDiff):
    """Audio by its samples: the same file, a copy, or the same samples in another container are the same."""

    def __init__(self, tolerance: float, allow_pipes: bool) -> None:
        super().__init__(tolerance)
        self.allow_pipes = allow_pipes

    def difference(self, key: str, a: str, b: str) -> Describe | None:
        """As `ValueDiff`."""
        with contextlib.suppress(OSError):
            if Path(a).samefile(b) or filecmp.cmp(a, b, shallow=False):  # a command is no file
                return None
        samples_a, rate_a = read_audio(a, self.allow_pipes)
        samples_b, rate_b = read_audio(b, self.allow_pipes)
        if rate_a != rate_b:
            self.counts["read"] += 1
            self.counts["other_shape"] += 1
            return lambda: f"{rate_a} Hz → {rate_b} Hz"
        return self._difference(key, samples_a, samples_b)


class RecordDiff:
    """Lines of `data.jsonl`, by field. The path of the audio is `wav.scp`'s business, which compares what is in it.

    Figures: how many lines differ in each field.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def difference(self, key: str, a: str, b: str) -> Describe | None:
        """As `ValueDiff`."""
        try:
            changes = field_changes(json.loads(a), json.loads(b), ignored=("audio_path",))
        except ValueError as error:
            raise RecipeError(f"a line is not valid JSON ({error}); utils/fix_data_dir.sh leaves it out") from error
        self.counts.update(change["field"] for change in changes)
        return (lambda: "; ".join(map(change_in_words, changes))) if changes else None

    def figures(self) -> dict[str, Any]:
        """As the class says."""
        return dict(self.counts)


def field_changes(a: Any, b: Any, ignored: Set[str] | tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The fields in which two JSON or YAML values differ.

    Args:
        a: a value; mappings are followed down, and the names of their fields joined by dots.
        b: another.
        ignored: names of fields at the top that do not count.

    Returns:
        Of each differing field `{"field", "a", "b"}`, without `a` or `b` where that side lacks the field.
    """
    sides = {"a": _flat(a), "b": _flat(b)}
    names = [name for name in sides["a"] | sides["b"] if name.partition(".")[0] not in ignored]
    changes = [
        {"field": name, **{side: fields[name] for side, fields in sides.items() if name in fields}} for name in names
    ]
    return [change for change in changes if not _is_same(change)]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or (prefix and not value):
        return {prefix: value}
    join = f"{prefix}." if prefix else ""
    return {name: leaf for key, each in value.items() for name, leaf in _flat(each, f"{join}{key}").items()}


def _is_same(change: Mapping[str, Any]) -> bool:
    if "a" not in change or "b" not in change:
        return False
    a, b = change["a"], change["b"]
    return a == b or (a != a and b != b)  # NaN is NaN


def change_in_words(change: Mapping[str, Any]) -> str:
    """`field: old → new`, with the difference of numbers."""
    a, b = (json.dumps(change[side], ensure_ascii=False) if side in change else "nothing" for side in ("a", "b"))
    values = (change.get("a"), change.get("b"))
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    by = f" ({values[1] - values[0]:+.4g})" if is_number else ""
    return f"{change['field']}: {a} → {b}{by}" if change["field"] else f"{a} → {b}{by}"


def sequence_change(x: Sequence[str], y: Sequence[str], element: str) -> str:
    """`old → new`, without what two sequences begin and end with alike, and where this is."""
    start = _shared_start(x, y)
    end = _shared_start(x[start:][::-1], y[start:][::-1])
    old, new = (_excerpt(each[start : len(each) - end]) for each in (x, y))
    where = f"from {element} {start + 1} (of {len(x)} and {len(y)}): " if len(x) > 1 or len(y) > 1 else ""
    return f"{where}{old} → {new}"


def _shared_start(x: Sequence[str], y: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(x, y, strict=False)))


def _excerpt(elements: Sequence[str]) -> str:
    return " ".join(elements[:SHOWN_ELEMENTS]) + " …" * (len(elements) > SHOWN_ELEMENTS) or "nothing"
