"""`exp/run.jsonl`: what a recipe ran, a line a step."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from taste.files import read_json_lines
from taste.provenance import command_line, provenance

FILE = "run.jsonl"
BLOCK = 2**16  # bytes that are read at a time
RUN = "TASTE_RUN"  # environment variable: the command line of the recipe's run.sh


class RunRecord:
    """One command, from its start to its end."""

    def __init__(self, stage: str, step: str, command: Sequence[str]) -> None:
        """Begin; `step` says which part of the stage it is."""
        self.start = time.monotonic()
        self.record = {
            **provenance(),
            "stage": stage,
            "step": step,
            "run": os.environ.get(RUN, ""),
            "command": command_line(command),
            "host": socket.gethostname(),
        }

    def write(self, exp_dir: Path, status: int, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Append the record to `exp_dir/run.jsonl`; lines of steps that end at the same time do not mix.

        A last line without an end, of a run that was killed, goes.

        Args:
            status: exit status of the command.
            inputs: files with their states, as `taste.steps` has them.
            outputs: likewise.
        """
        seconds = round(time.monotonic() - self.start, 1)
        record = {**self.record, "seconds": seconds, "status": status, "inputs": inputs, "outputs": outputs}
        exp_dir.mkdir(parents=True, exist_ok=True)
        with open(exp_dir / FILE, "ab+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.truncate(end_of_last_line(stream))
            stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def end_of_last_line(stream: BinaryIO) -> int:
    """The offset behind a file's last line end, 0 where it has none; read from its end."""
    position = stream.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - BLOCK)
        stream.seek(start)
        found = stream.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def run_table(exp_dir: Path) -> list[list[str]]:
    """What a recipe ran, for people.

    Returns:
        The header and a row a command: when it started (local time), stage, step, exit status, duration, host, commit
        and command.

    Raises:
        RecipeError: nothing has been run.
    """
    header = ["started", "stage", "step", "status", "took", "host", "commit", "command"]
    rows = [
        [
            datetime.fromisoformat(each["time"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            each["stage"],
            each["step"],
            str(each["status"]),
            duration(each["seconds"]),
            each["host"],
            each["commit"],
            each["command"],
        ]
        for each in read_json_lines(exp_dir / FILE, "run.sh")
    ]
    return [header, *rows]


def duration(seconds: float) -> str:
    """Seconds as `4.2 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
