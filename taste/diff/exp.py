"""What differs between two experiment directories: configurations, results and how they came about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from taste.diff.values import field_changes
from taste.errors import RecipeError
from taste.files import read_json


def read_config(path: Path) -> Any:
    """Read `config.yaml`.

    Raises:
        RecipeError: it is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML ({error}); remove it and train again") from error


# The files that are compared, wherever they lie, and how they are read.
FILES: dict[str, Callable[[Path], Any]] = {
    "config.yaml": read_config,
    "results.json": lambda path: read_json(path, "stage 10"),
    "train.json": lambda path: read_json(path, "training"),
}
# What two runs of the same thing differ in.
CIRCUMSTANCES = ("command", "hardware", "peak_memory_bytes", "seconds", "time")


@dataclass
class ExpDiff:
    """What differs between two experiment directories.

    Attributes:
        a: one.
        b: the other.
        files_only_a: paths of A alone, in the directory.
        files_only_b: of B alone.
        files: of each path that both have, the fields that differ.
        trouble: what could not be read, and why.
    """

    a: str
    b: str
    files_only_a: list[str] = field(default_factory=list)
    files_only_b: list[str] = field(default_factory=list)
    files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return bool(self.files_only_a or self.files_only_b) or any(self.files.values())

    @property
    def is_incomplete(self) -> bool:
        """Whether something could not be compared."""
        return bool(self.trouble)


def exp_files(exp_dir: Path) -> set[str]:
    """The paths, within an experiment directory, of what is compared."""
    return {str(path.relative_to(exp_dir)) for name in FILES for path in exp_dir.rglob(name) if path.is_file()}


def diff_exp_dirs(a: str | Path, b: str | Path) -> ExpDiff:
    """Compare `config.yaml`, `results.json` and `train.json` (commit, versions, best losses …) of all systems.

    Of `train.json` the time, the machine, the memory and the command line do not count. A file that cannot be read is
    named, and the rest is compared.
    """
    a, b = Path(a), Path(b)
    files_a, files_b = exp_files(a), exp_files(b)
    result = ExpDiff(str(a), str(b), sorted(files_a - files_b), sorted(files_b - files_a))
    for name in sorted(files_a & files_b):
        read = FILES[Path(name).name]
        ignored = CIRCUMSTANCES if name.endswith("train.json") else ()
        try:
            result.files[name] = field_changes(read(a / name), read(b / name), ignored)
        except (RecipeError, OSError) as error:
            result.trouble.append(str(error))
    return result
