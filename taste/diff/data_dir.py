"""What differs between two data directories (`utils/diff_data_dir.sh`)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from taste.data_dir.contents import RECORDS, kind_of, links, require_data_dir, tables
from taste.data_dir.validate import dangling_links
from taste.diff.merge import Pair, TableMerge
from taste.diff.values import field_changes, value_diff
from taste.errors import RecipeError
from taste.files import read_json
from taste.progress import progress
from taste.units.record import first_difference


@dataclass(frozen=True)
class DiffOptions:
    """How directories are compared.

    Attributes:
        tolerance: relative distance up to which arrays and audio count as the same.
        allow_pipes: whether commands of `wav.scp` may be run.
        show: how many of a sort are kept in `Listed.first`.
    """

    tolerance: float = 0.0
    allow_pipes: bool = False
    show: int = 5


@dataclass
class Listed:
    """How many there are of something, and the first few."""

    count: int = 0
    first: list[Any] = field(default_factory=list)

    def add(self, make: Callable[[], Any], options: DiffOptions) -> None:
        """Count one more, and make and keep it if it is among the first."""
        self.count += 1
        if len(self.first) < options.show:
            self.first.append(make())


@dataclass
class TableDiff:
    """What differs between two tables of the same name.

    Attributes:
        lines: of A and B.
        only_a: ids of A alone; without utterances that the whole of B lacks, which `DataDirDiff` tells.
        only_b: ids of B alone, likewise.
        changed: `{"id", "a", "b", "difference"}` of values that differ.
        white_space: `{"id", "difference"}` of lines that differ in white space alone.
        not_compared: `{"id", "difference"}` of values that cannot be read: the reason.
        written_differently: how many values are, yet say the same.
        figures: of `ValueDiff.figures`.
    """

    lines: list[int]
    only_a: Listed = field(default_factory=Listed)
    only_b: Listed = field(default_factory=Listed)
    changed: Listed = field(default_factory=Listed)
    white_space: Listed = field(default_factory=Listed)
    not_compared: Listed = field(default_factory=Listed)
    written_differently: int = 0
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return any(each.count for each in (self.only_a, self.only_b, self.changed, self.white_space))


@dataclass
class DataDirDiff:
    """What differs between two data directories.

    Attributes:
        a: one.
        b: the other.
        only_a: utterances of A's `utt2spk` alone.
        only_b: of B's alone.
        files_only_a: tables and records of A alone.
        files_only_b: of B alone.
        tables: by name, those that both have and that could be compared.
        records: by name (`units.json`), the fields that differ; links between tables are under "links".
        notes: what has to be known to read the rest.
        trouble: what could not be compared, and why.
    """

    a: str
    b: str
    only_a: Listed = field(default_factory=Listed)
    only_b: Listed = field(default_factory=Listed)
    files_only_a: list[str] = field(default_factory=list)
    files_only_b: list[str] = field(default_factory=list)
    tables: dict[str, TableDiff] = field(default_factory=dict)
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        lists = (self.only_a.count, self.only_b.count, self.files_only_a, self.files_only_b)
        return any(lists) or any(self.records.values()) or any(table.differs for table in self.tables.values())

    @property
    def is_incomplete(self) -> bool:
        """Whether something could not be compared."""
        return bool(self.trouble) or any(table.not_compared.count for table in self.tables.values())


def diff_data_dirs(a: str | Path, b: str | Path, options: DiffOptions) -> DataDirDiff:
    """Compare two data directories: every table and record that one of them has.

    Sorted tables are read side by side as streams, so memory grows with the utterances that one directory only has,
    and with nothing else. What cannot be compared (a file that is not sorted, an archive that cannot be read) is named,
    and the rest is compared.

    Raises:
        RecipeError: one of the two is no data directory.
    """
    a, b = require_data_dir(a), require_data_dir(b)
    result = DataDirDiff(str(a), str(b), trouble=[*dangling_links(a), *dangling_links(b)])
    tables_a, tables_b = ({path.name for path in tables(each)} for each in (a, b))
    records_a, records_b = ({name for name in RECORDS if (each / name).is_file()} for each in (a, b))
    result.files_only_a = sorted(tables_a - tables_b | records_a - records_b)
    result.files_only_b = sorted(tables_b - tables_a | records_b - records_a)
    result.records["links"] = field_changes(links(a), links(b))
    for name in sorted(records_a & records_b):
        with _trouble_noted(result):
            result.records[name] = _record_changes(name, a / name, b / name, result.notes)
    unshared: set[bytes] = set()
    for name in sorted(tables_a & tables_b, key=lambda name: (name != "utt2spk", name)):
        with _trouble_noted(result):
            if name == "wav.scp":
                _require_same_kind_of_audio(a, b)
            result.tables[name] = _diff_table(a / name, b / name, unshared, options, result)
    return result


@contextlib.contextmanager
def _trouble_noted(result: DataDirDiff) -> Iterator[None]:
    """Turn an error into a line of `result.trouble`."""
    try:
        yield
    except RecipeError as error:
        result.trouble.append(str(error))
    except OSError as error:
        result.trouble.append(f"{error.filename} cannot be read ({error.strerror})" if error.filename else str(error))


def _record_changes(name: str, a: Path, b: Path, notes: list[str]) -> list[dict[str, Any]]:
    one, other = (read_json(path, "the stage that wrote it") for path in (a, b))
    if name == "units.json" and (differing := first_difference(one, other)):
        notes.append(f"the units differ in {differing}, so the edit distance of utt2s3 says nothing about the speech")
    return field_changes(one, other)


def _require_same_kind_of_audio(a: Path, b: Path) -> None:
    with_segments = [each for each in (a, b) if (each / "segments").is_file()]
    if len(with_segments) == 1:
        raise RecipeError(
            f"wav.scp: only {with_segments[0]} has segments, so its lines are recordings and the other's utterances; "
            "compare before the segments are cut, or after"
        )


def _diff_table(a: Path, b: Path, unshared: set[bytes], options: DiffOptions, result: DataDirDiff) -> TableDiff:
    """Compare two tables; `utt2spk`, the first, fills `unshared` and the result's utterances."""
    comparison = _TableComparison(a, b, unshared, options)
    table, missing = comparison.table, set()
    for key, line_a, line_b in _shown(comparison.merge, a):
        if line_a and line_b:
            comparison.add(key, line_a, line_b)
        else:
            missing.add(key)
            (table.only_b if line_b else table.only_a).add(lambda key=key: _text(key), options)
    table.figures = comparison.values.figures()
    if a.name == "utt2spk":
        unshared |= missing
        result.only_a, result.only_b = table.only_a, table.only_b
        table.only_a, table.only_b = Listed(), Listed()
    return table


def _is_by_utterance(path: Path) -> bool:
    kind = kind_of(path.name)
    return kind == "utt" or (kind == "reco" and not (path.parent / "segments").is_file())


def _shown(pairs: Iterable[Pair], path: Path) -> Iterator[Pair]:
    """Show progress where other files have to be read, from the first of them on."""
    iterator, reads_files = iter(pairs), path.suffix == ".scp"
    for pair in iterator:
        if reads_files and all(pair):
            yield from progress(chain([pair], iterator), f"comparing {path.name}")
        else:
            yield pair


class _TableComparison:
    """Sorts pairs of differing lines of the same id into their places in a `TableDiff`."""

    def __init__(self, a: Path, b: Path, unshared: set[bytes], options: DiffOptions) -> None:
        self.a, self.b, self.options = a, b, options
        is_by_utterance = all(map(_is_by_utterance, (a, b)))
        self.merge = TableMerge(a, b, ignored=unshared if is_by_utterance else frozenset())
        self.table = TableDiff(self.merge.lines)
        self.values = value_diff(a.name, options.tolerance, options.allow_pipes, unshared)
        self.value = _record if a.suffix == ".jsonl" else _value
        self.spaces_matter = a.suffix == ".scp"  # paths may hold them

    def add(self, key: bytes, a: bytes, b: bytes) -> None:
        """Compare a pair of lines."""
        name, value_a, value_b = _text(key), self.value(a), self.value(b)
        try:
            describe = self.values.difference(name, value_a, value_b) if value_a != value_b else None
        except RecipeError as error:
            reason = str(error)
            self.table.not_compared.add(lambda: {"id": name, "difference": reason}, self.options)
            return
        if describe:
            change = {"id": name, "a": value_a, "b": value_b}
            self.table.changed.add(lambda: {**change, "difference": describe()}, self.options)
        elif value_a == value_b or (not self.spaces_matter and value_a.split() == value_b.split()):
            self.table.white_space.add(lambda: {"id": name, "difference": self._white_space(key, a, b)}, self.options)
        else:
            self.table.written_differently += 1

    def _white_space(self, key: bytes, a: bytes, b: bytes) -> str:
        places = [f"{path}:{n}" for path, n in zip((self.a, self.b), self.merge.line_numbers(key), strict=True)]
        for sort, character in (("a carriage return", b"\r"), ("a tab", b"\t")):
            for place, line in zip(places, (a, b), strict=True):
                if character in line:
                    return f"{place} holds {sort}; utils/fix_data_dir.sh removes it"
        return f"other spaces in {places[0]} than in {places[1]}"


def _text(key: bytes) -> str:
    return key.decode(errors="surrogateescape")


def _value(line: bytes) -> str:
    fields = line.split(None, 1)
    return _text(fields[1].rstrip()) if len(fields) > 1 else ""


def _record(line: bytes) -> str:
    return _text(line.strip())
