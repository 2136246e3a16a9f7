"""Kaldi's text tables (`wav.scp`, `text`, `utt2spk` …): one line a key, sorted as `LC_ALL=C sort` does."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path

from taste.errors import RecipeError
from taste.files import atomic_path, require


def read_table(path: str | Path, made_by: str | None = None) -> dict[str, str]:
    """Read `key value…` lines into a dict that keeps the file's order.

    Args:
        path: the table.
        made_by: the stage that makes the file, named when it is missing.

    Raises:
        RecipeError: the file is missing or not UTF-8, a line is empty, or a key occurs twice; with file and line.
    """
    path = Path(path)
    if not path.exists():
        raise RecipeError(f"{path} does not exist" + (f"; {made_by} makes it" if made_by else ""))
    table: dict[str, str] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line and number > 1:
            continue
        try:
            key, _, value = line.decode("utf-8").strip().partition(" ")
        except UnicodeDecodeError as error:
            raise RecipeError(f"{path}:{number}: not valid UTF-8 ({error}); convert the file to UTF-8") from error
        if not key:
            raise RecipeError(f"{path}:{number}: empty line; utils/fix_data_dir.sh repairs the directory")
        if key in table:
            raise RecipeError(f"{path}:{number}: {key} occurs twice; utils/fix_data_dir.sh repairs the directory")
        table[key] = value.strip()
    return table


def write_table(path: str | Path, table: Mapping[str, str]) -> None:
    """Write a table atomically, its keys sorted by their UTF-8 bytes (`LC_ALL=C`)."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as stream:
        for key in sorted(table, key=str.encode):
            stream.write(f"{key} {table[key]}".rstrip() + "\n")


def read_int_table(path: str | Path, made_by: str | None = None) -> dict[str, list[int]]:
    """Read a table of integers (`utt2s3`, `utt2token`).

    Raises:
        RecipeError: as `read_table`, or a value that is no integer; with the key.
    """
    table = {}
    for key, value in read_table(path, made_by).items():
        try:
            table[key] = [int(number) for number in value.split()]
        except ValueError as error:
            raise RecipeError(f"{path}: {key}: {error}") from error
    return table


class SortedTable:
    """A sorted table that stays on disk: lines are found by bisection and read when asked for.

    Memory does not grow with the length of the lines, so `utt2s3` of a large corpus can be read in random order, by
    several threads if need be.
    """

    def __init__(self, path: str | Path, made_by: str) -> None:
        """Index the file.

        Raises:
            RecipeError: the file is missing (`made_by` names the stage that makes it), or not sorted or not unique.
        """
        self.path = require(path, made_by)
        self.starts = array("q", [0])
        previous = b""
        with open(self.path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                key = line.split(None, 1)[0] if line.strip() else b""
                if key <= previous:
                    fault = f"{key.decode(errors='replace')!r} is empty, repeated or out of order"
                    raise RecipeError(f"{path}:{number}: {fault}; utils/fix_data_dir.sh repairs the directory")
                previous = key
                self.starts.append(self.starts[-1] + len(line))
        self._stream = open(self.path, "rb")  # noqa: SIM115 (kept open for the reads to come)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def line(self, index: int) -> tuple[str, str]:
        """Key and value of a line."""
        start, end = self.starts[index], self.starts[index + 1]
        key, _, value = os.pread(self._stream.fileno(), end - start, start).decode("utf-8").strip().partition(" ")
        return key, value.strip()

    def keys(self) -> Iterator[str]:
        """All keys, in order."""
        with open(self.path, "rb") as stream:
            for line in stream:
                yield line.split(None, 1)[0].decode("utf-8")

    def __getitem__(self, key: str) -> str:
        """The value of `key`, or KeyError."""
        index = bisect_left(range(len(self)), key.encode(), key=lambda i: self.line(i)[0].encode())
        found, value = self.line(index) if index < len(self) else ("", "")
        if found != key:
            raise KeyError(key)
        return value
