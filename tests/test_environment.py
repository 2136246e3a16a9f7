"""Which environment path.sh takes, and that it leaves alone what it did not make."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def active(tmp_path):
    """An activated environment: a folder whose python is the running one."""
    python = tmp_path / "env/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tmp_path / "env"


@pytest.fixture
def checkout(tmp_path):
    """A checkout of the files that path.sh reads, whose own environment is recorded as made."""
    root = tmp_path / "a checkout"
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/python").symlink_to(sys.executable)
    (root / ".venv/installed").mkdir()
    (root / "utils").symlink_to(ROOT / "utils")
    (root / "path.sh").write_text((ROOT / "path.sh").read_text())
    return root


def source_path(checkout, active, requirements):
    (checkout / "requirements.txt").write_text(requirements)
    script = '. "$1/path.sh" && echo "$VIRTUAL_ENV" && command -v python'
    environment = {"PATH": f"{active}/bin:/usr/bin:/bin", "VIRTUAL_ENV": str(active)}
    command = ["bash", "-euc", script, "bash", checkout]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_an_active_environment_that_satisfies_is_used_as_it_is(checkout, active):
    result = source_path(checkout, active, "torch>=2.4\nnumpy  # any\n")
    assert result.stdout.splitlines() == [str(active), f"{active}/bin/python"], result.stderr


def test_missing_requirements_are_named():
    script = ROOT / "utils/python/check_requirements.py"
    assert subprocess.run([sys.executable, script, ROOT / "requirements.txt"]).returncode == 0
    command = [sys.executable, script, "/dev/stdin"]
    result = subprocess.run(command, input="torch>=99\nno-such==1\n", text=True, capture_output=True)
    assert result.returncode == 1
    assert "torch>=99 (found" in result.stderr and "no-such==1 (absent)" in result.stderr


def test_an_environment_that_does_not_satisfy_is_left_alone(checkout, active):
    make = checkout / "make.sh"
    make.write_text('#!/bin/sh\necho "made with $*" >&2\n')
    make.chmod(0o755)
    (checkout / "utils").unlink()
    (checkout / "utils/python").mkdir(parents=True)
    (checkout / "utils/make_environment.sh").symlink_to(make)
    (checkout / "utils/python/check_requirements.py").symlink_to(ROOT / "utils/python/check_requirements.py")
    before = sorted(active.rglob("*"))
    result = source_path(checkout, active, "no-such==1\n")
    assert result.stdout.splitlines() == [f"{checkout}/.venv", f"{checkout}/.venv/bin/python"]
    assert "no-such" in result.stderr and "left alone" in result.stderr and "made with" in result.stderr
    assert sorted(active.rglob("*")) == before


def test_an_environment_that_was_made_is_not_made_again(tmp_path):
    root = tmp_path / "checkout"
    (root / "utils").mkdir(parents=True)
    (root / "utils/make_environment.sh").write_text((ROOT / "utils/make_environment.sh").read_text())
    for name in ("requirements.txt", "constraints.txt"):
        (root / name).write_text("torch\n")
        (root / ".venv/installed").mkdir(parents=True, exist_ok=True)
        (root / ".venv/installed" / name).write_text("torch\n")
    command = ["bash", root / "utils/make_environment.sh", root / "requirements.txt"]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""
