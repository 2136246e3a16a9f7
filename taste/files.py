"""Files that appear under their name only when they are complete, and hashes of files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from taste.errors import RecipeError


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it is renamed to `path` when the block ends without an error.

    The partial file ends in `.partial` and is removed when the block fails. An error of the disk names `path` then.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.filename is None:  # as where the disk is full
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path, made_by: str) -> Any:
    """Read a JSON file; `made_by` names the stage that writes it, for the message when it is missing.

    Raises:
        RecipeError: the file is missing or is not JSON.
    """
    require(path, made_by)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"{path} is not valid JSON ({error}); remove it and run {made_by} again") from error


def write_json_lines(path: str | Path, records: Iterable[Any]) -> None:
    """Write records as JSON, one a line, atomically."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record) + "\n" for record in records)


def read_json_lines(path: str | Path, made_by: str) -> list[Any]:
    """Read what `write_json_lines` wrote, or lines that were appended, without a last one that was cut off.

    Raises:
        RecipeError: the file is missing; `made_by` names the stage that makes it.
    """
    whole, _, _ = require(path, made_by).read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def require(path: str | Path, made_by: str) -> Path:
    """Return `path` if it exists.

    Raises:
        RecipeError: it does not; the message says which stage makes it (`made_by`, e.g. "stage 4").
    """
    path = Path(path)
    if not path.exists():
        raise RecipeError(f"{path} does not exist; {made_by} makes it")
    return path


def file_digest(path: str | Path, algorithm: str) -> str:
    """Hexadecimal digest of a file's contents; `algorithm` is a name that hashlib knows."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's contents."""
    return file_digest(path, "sha256")
