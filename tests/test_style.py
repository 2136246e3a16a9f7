import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _tool(name):
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed; pip install -r tests/requirements.txt")
    return path


def _bash_scripts():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so it is not known which files belong to the project")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    paths = [ROOT / name.decode() for name in names if name]
    return [path for path in paths if path.is_file() and not path.is_symlink() and _is_bash(path)]


def _is_bash(path):
    if path.suffix == ".sh":
        return True
    with open(path, "rb") as stream:
        first = stream.readline(80)
    return first.startswith(b"#!") and b"bash" in first


def test_ruff():
    result = subprocess.run([_tool("ruff"), "check", "."], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_shellcheck():
    scripts = _bash_scripts()
    assert scripts
    result = subprocess.run([_tool("shellcheck"), "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
