"""Kaldi's text tables (`wav.scp`, `text`, `utt2spk` …): one line a key, sorted as `LC_ALL=C sort` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from taste.errors import RecipeError
from taste.files import atomic_path


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
