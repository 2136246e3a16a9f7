"""`units.json`: what made a directory's units, and the refusal of directories that do not belong together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taste.errors import RecipeError
from taste.files import read_json

PROPERTIES = ("backend", "model", "layer", "K", "rate", "weights_sha256", "codebook_sha256")


def first_difference(record: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first property in which two records differ; None if units of both can be used together."""
    return next((name for name in PROPERTIES if record.get(name) != other.get(name)), None)


def require_same_units(data_dirs: Sequence[str | Path]) -> dict[str, Any]:
    """Return the record of the units of `data_dirs`.

    Raises:
        RecipeError: a directory has no units, or units of two directories differ; with the first property that
            differs, both values and both directories.
    """
    records = [read_json(Path(data_dir) / "units.json", "stage 5") for data_dir in data_dirs]
    for data_dir, record in zip(data_dirs[1:], records[1:], strict=True):
        if name := first_difference(records[0], record):
            raise RecipeError(
                f"units of {data_dirs[0]} and {data_dir} differ in {name}: {records[0].get(name)} and "
                f"{record.get(name)}; make both with the same settings (stage 5)"
            )
    return records[0]
