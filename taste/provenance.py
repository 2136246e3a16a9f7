"""Where a result came from: command, commit, versions, time. Without torch, which takes seconds to load."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "numpy", "openai-whisper", "kaldiio", "scikit-learn")


def provenance() -> dict[str, object]:
    """Command line, commit, package versions and time of the running program."""
    return {
        "command": command_line(sys.argv),
        "commit": commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def command_line(arguments: Sequence[str]) -> str:
    """A command that can be pasted into a shell, the program without its folder."""
    return shlex.join([Path(arguments[0]).name, *arguments[1:]])


def commit() -> str:
    """The checkout's commit, with `+` where tracked files have been changed; "unknown" outside git."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", root, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
