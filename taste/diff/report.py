"""Data directories, experiment directories or whole runs side by side: what to compare, and the report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from taste.diff.data_dir import DataDirDiff, DiffOptions, Listed, TableDiff, diff_data_dirs
from taste.diff.exp import ExpDiff, diff_exp_dirs, exp_files
from taste.diff.values import change_in_words
from taste.errors import RecipeError

SAME, DIFFERENT, TROUBLE = range(3)  # exit statuses, as diff's
DATA_DIRS = ("utt2spk", "*/utt2spk", "data/*/utt2spk")  # in a data directory, in `data`, in a recipe's directory
INDENT = "  "


class DiffReport:
    """What differs between two directories, part by part: data directories, then experiments.

    Args:
        a: a data directory, a folder of such, an experiment directory, or a recipe's directory with `data` and `exp`.
        b: another of the same sort.
        options: how they are compared.

    Raises:
        RecipeError: one is missing or nothing of the kind, or they are of different sorts.
    """

    def __init__(self, a: str | Path, b: str | Path, options: DiffOptions) -> None:
        self.a, self.b = Path(a), Path(b)
        data_a, data_b = _data_dirs(self.a), _data_dirs(self.b)
        if (Path() in data_a) != (Path() in data_b):
            one, other = (self.a, self.b) if Path() in data_a else (self.b, self.a)
            raise RecipeError(f"{one} is a data directory and {other} is none; give two of the same sort")
        exp_a, exp_b = _exp_dir(self.a), _exp_dir(self.b)
        if not (data_a & data_b or (exp_a and exp_b)):
            raise RecipeError(f"{a} and {b} have nothing in common to compare: no data set, no experiments")
        self.only_a, self.only_b = ([str(path) for path in sorted(one)] for one in (data_a - data_b, data_b - data_a))
        self.parts: list[DataDirDiff | ExpDiff] = [
            diff_data_dirs(self.a / name, self.b / name, options) for name in sorted(data_a & data_b)
        ]
        if exp_a and exp_b:
            self.parts.append(diff_exp_dirs(exp_a, exp_b))
        elif exp_a or exp_b:
            (self.only_a if exp_a else self.only_b).append("exp")

    @property
    def status(self) -> int:
        """The exit status: 0 nothing differs, 1 something does, 2 something could not be compared."""
        if any(part.is_incomplete for part in self.parts):
            return TROUBLE
        return DIFFERENT if self.only_a or self.only_b or any(part.differs for part in self.parts) else SAME

    def json(self) -> str:
        """The report for programs."""
        report = {
            "a": str(self.a),
            "b": str(self.b),
            "status": ("same", "different", "trouble")[self.status],
            "only_a": self.only_a,
            "only_b": self.only_b,
            "data": [asdict(part) for part in self.parts if isinstance(part, DataDirDiff)],
            "exp": [asdict(part) for part in self.parts if isinstance(part, ExpDiff)],
        }
        return json.dumps(report, indent=2, ensure_ascii=False)

    def text(self) -> Iterator[str]:
        """The report for people, by line; parts in which nothing differs are left out."""
        yield f"A = {self.a}"
        yield f"B = {self.b}"
        yield from _names_only(self.only_a, self.only_b)
        for part in self.parts:
            lines = list(data_dir_lines(part) if isinstance(part, DataDirDiff) else exp_lines(part))
            if lines and len(self.parts) > 1:
                yield f"== {part.a} and {part.b}"
            yield from lines
        if self.status == SAME:
            yield "no differences"


def _data_dirs(root: Path) -> set[Path]:
    """The data directories of a folder, by their paths within it."""
    if not root.is_dir():
        raise RecipeError(f"no such directory {root}")
    found = {path.parent.relative_to(root) for pattern in DATA_DIRS for path in root.glob(pattern)}
    return {Path()} if Path() in found else found


def _exp_dir(root: Path) -> Path | None:
    """The experiment directory that a folder has or is."""
    if (root / "utt2spk").exists():
        return None
    exp_dir = root / "exp" if (root / "exp").is_dir() else root
    return exp_dir if exp_files(exp_dir) else None


def _names_only(only_a: Sequence[str], only_b: Sequence[str], what: str = "") -> Iterator[str]:
    for side, names in (("A", only_a), ("B", only_b)):
        if names:
            yield f"{what}only in {side}: {', '.join(names)}"


def _ids_only(only_a: Listed, only_b: Listed, what: str) -> Iterator[str]:
    for side, ids in (("A", only_a), ("B", only_b)):
        if ids.count:
            more = ", …" * (ids.count > len(ids.first))
            yield f"{ids.count} {what} only in {side}: {', '.join(ids.first)}{more}"


def data_dir_lines(diff: DataDirDiff) -> Iterator[str]:
    """What differs between two data directories, for people."""
    yield from (f"trouble: {message}" for message in diff.trouble)
    yield from (f"note: {message}" for message in diff.notes)
    yield from _names_only(diff.files_only_a, diff.files_only_b, "files ")
    yield from _ids_only(diff.only_a, diff.only_b, "utterances")
    for name, changes in diff.records.items():
        if changes:
            yield f"{name}:"
            yield from (INDENT + change_in_words(change) for change in changes)
    for name, table in diff.tables.items():
        lines = list(table_lines(table))
        if lines:
            yield f"{name} ({table.lines[0]} and {table.lines[1]} lines):"
            yield from (INDENT + line for line in lines)


def table_lines(table: TableDiff) -> Iterator[str]:
    """What differs between two tables, for people."""
    yield from _ids_only(table.only_a, table.only_b, "ids")
    found = {
        "differ": table.changed,
        "differ in white space alone": table.white_space,
        "could not be compared": table.not_compared,
    }
    for what, listed in found.items():
        if listed.count:
            figures = figures_in_words(table.figures) if listed is table.changed else ""
            yield f"{listed.count} {what}{figures and ': '}{figures}"
            yield from (f"{INDENT}{each['id']}: {each['difference']}" for each in listed.first)
            if listed.count > len(listed.first):
                yield f"{INDENT}…"
    if table.written_differently:
        figures = figures_in_words(table.figures) if not table.changed.count else ""
        same = f"{table.written_differently} are written differently and say the same"
        yield same + (f": {figures}" if figures else "")


def figures_in_words(figures: Mapping[str, Any]) -> str:
    """Figures of a table as `name value, name value`, without those that are zero."""
    words = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in figures.items() if value}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in words.items())


def exp_lines(diff: ExpDiff) -> Iterator[str]:
    """What differs between two experiment directories, for people."""
    yield from (f"trouble: {message}" for message in diff.trouble)
    yield from _names_only(diff.files_only_a, diff.files_only_b, "files ")
    for name, changes in diff.files.items():
        if changes:
            yield f"{name}:"
            yield from (INDENT + change_in_words(change) for change in changes)
