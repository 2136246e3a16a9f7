"""One job: a command, in bash, with its log."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taste.errors import RecipeError

SECONDS_TO_END = 5.0  # what a job gets to clean up between SIGTERM and SIGKILL


def threads_environment(num_threads: int | None) -> dict[str, str]:
    """The variables that give a job its number of threads, where the call says it."""
    return {"OMP_NUM_THREADS": str(num_threads)} if num_threads else {}


def run_job(
    command: str, log: Path, environment: dict[str, str], watch: Watch | None = None, scheduler_job: str = ""
) -> int:
    """Run one command in bash with its log, and wait for it.

    Args:
        command: what bash runs; its output and errors go to the log, its standard input is empty.
        log: made anew, with its directory.
        environment: variables set for the command, beside those of this process.
        watch: is told about the process, to be able to end it. Without one, the command stays in the process group
            of this process, with which schedulers such as Grid Engine end it.
        scheduler_job: what a scheduler calls the job, for the log.

    Returns:
        The exit status; 128 + N where signal N ended it, as in bash.

    Raises:
        RecipeError: the log cannot be written, or the command not be started.
    """
    started = time.time()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w", encoding="utf-8", errors="surrogateescape") as stream:
            where = socket.gethostname() + (f", {scheduler_job}" if scheduler_job else "")
            stream.write(f"# {command}\n# Running on {where}\n# Started at {_date(started)}\n#\n")
            stream.flush()
            process = subprocess.Popen(
                ["bash", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=watch is not None,  # a group of its own, so that its children end with it
                close_fds=False,  # a step's lock, which this process was given, is held as long as the job lives
            )
        with watch.over(process) if watch else contextlib.nullcontext():
            status = process.wait()
        elapsed = round(time.time() - started)
        code = f"code {status}" if status >= 0 else f"code {128 - status}; signal {-status}"
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(f"# Accounting: time={elapsed} threads=1\n")
            stream.write(f"# Ended ({code}) at {_date(time.time())}, elapsed time {elapsed} seconds\n")
    except OSError as error:
        raise RecipeError(f"cannot run the job with the log {log}: {error.strerror}") from error
    return status if status >= 0 else 128 - status


def _date(seconds: float) -> str:
    return time.strftime("%a %b %d %H:%M:%S %Z %Y", time.localtime(seconds))


class Watch:
    """The processes of running jobs, to be ended together."""

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen[Any]] = set()
        self._lock = threading.Lock()
        self.ended = False

    @contextlib.contextmanager
    def over(self, process: subprocess.Popen[Any]) -> Iterator[None]:
        """Know of `process` while the block runs."""
        with self._lock:
            self._processes.add(process)
            if self.ended:
                _signal_group(process, signal.SIGTERM)
        try:
            yield
        finally:
            with self._lock:
                self._processes.discard(process)

    def end(self) -> None:
        """End every job and what it started: SIGTERM, and SIGKILL for what is still there some seconds later."""
        with self._lock:
            self.ended = True
            processes = list(self._processes)
        for process in processes:
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_END
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in processes:
            _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[Any], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
