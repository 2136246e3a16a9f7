"""Launchers of jobs with Kaldi's call: `CMD [options] [JOB=1:N] LOG command…`, one log file a job.

A launcher reads its call with `parse_call`; where the job runs, on this machine or on a node of a cluster, `run_job`
writes the log: the command, the host, when it started and ended, and its exit status.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taste.errors import RecipeError
from taste.options import positive_int

TAIL_LINES = 10
TAILS_SHOWN = 3
SECONDS_TO_END = 5.0  # what a job gets to clean up between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Call:
    """One call of a launcher.

    `options` maps names with underscores, as `mem` or `num_threads`, to their last value; `native` holds the options
    with one dash, which belong to the scheduler (`-q`, `-pe smp 4`).
    """

    options: dict[str, str]
    native: list[str]
    max_jobs_run: int | None
    job_name: str | None
    first: int
    last: int
    log_pattern: str
    command_pattern: str

    @property
    def jobs(self) -> range:
        """The numbers of the jobs; a call without `JOB=…` is job 1."""
        return range(self.first, self.last + 1)

    def log(self, job: int) -> Path:
        """The log file of a job."""
        return Path(self._numbered(self.log_pattern, job))

    def command(self, job: int) -> str:
        """The bash command of a job."""
        return self._numbered(self.command_pattern, job)

    def _numbered(self, pattern: str, job: int) -> str:
        return pattern.replace(self.job_name, str(job)) if self.job_name else pattern


def parse_call(arguments: list[str]) -> Call:
    """Read a launcher's arguments as Kaldi's `run.pl`, `queue.pl` and `slurm.pl` do.

    Raises:
        RecipeError: an option without a value, a range of jobs that is none, several jobs with one log, no command.
    """
    rest = list(arguments)
    options: dict[str, str] = {}
    native: list[str] = []
    limits: list[int] = []
    job_name, first, last = None, 1, 1
    while rest and (rest[0].startswith("-") or (job_name is None and _is_job_range(rest[0]))):
        word = rest.pop(0)
        if not word.startswith("-"):
            job_name, first, last = _job_range(word)
        elif word == "-V":
            native.append(word)
        else:
            values = [_option_value(word, rest) for _ in range(2 if word == "-pe" else 1)]
            if word in ("--max-jobs-run", "--max_jobs_run", "-tc"):
                limits.append(positive_int(word, values[0]))
            elif word.startswith("--"):
                options[word[2:].replace("-", "_")] = values[0]
            else:
                native += [word, *values]
    if len(rest) < 2:
        raise RecipeError("a log file and a command are needed; --help shows how it is called")
    log, *command = rest
    if last > first and job_name and job_name not in log:
        raise RecipeError(f"{last - first + 1} jobs would write to one log ({log}); its name has to hold {job_name}")
    limit = min(limits) if limits else None
    return Call(options, native, limit, job_name, first, last, log, shell_command(command))


def _is_job_range(word: str) -> bool:
    return re.fullmatch(r"[A-Za-z_]\w*=\d+(:\d+)?", word) is not None


def _job_range(word: str) -> tuple[str, int, int]:
    name, _, numbers = word.partition("=")
    first, _, last = numbers.partition(":")
    if int(first) < 1 or int(last or first) < int(first):
        raise RecipeError(f"{word} is no range of jobs; write {name}=1:N with N at least 1")
    return name, int(first), int(last or first)


def _option_value(option: str, rest: list[str]) -> str:
    if not rest or rest[0].startswith("--"):
        raise RecipeError(f"option {option} needs a value" + (f", got {rest[0]}" if rest else ""))
    return rest.pop(0)


def shell_command(arguments: list[str]) -> str:
    r"""Join arguments into a bash command by the rules of Kaldi's launchers.

    A word without white space is given to bash as it is, so that `a '|' b`, `\>file` and `'$HOME'` mean to bash what
    they show. A word with white space is one argument: in double quotes (bash still expands `$NAME` in it), or in
    single quotes where it holds double quotes. Where Kaldi's rules would give bash an unfinished quote
    (`/data/O'Brien/a.wav`), the word is passed literally instead.
    """
    return " ".join(map(_quote, arguments))


def _quote(word: str) -> str:
    if word and not re.search(r"\s", word):
        quoted = word
    elif '"' in word:
        quoted = f"'{word}'"
    else:
        quoted = f'"{word}"'
    try:
        shlex.split(quoted)
    except ValueError:
        return shlex.quote(word)
    return quoted


def run_job(command: str, log: Path, environment: dict[str, str] | None = None, watch: Watch | None = None) -> int:
    """Run one command in bash with its log, and wait for it.

    Args:
        command: what bash runs; its output and errors go to the log, its standard input is empty.
        log: made anew, with its directory.
        environment: variables set for the command, beside those of this process.
        watch: is told about the process, to be able to end it.

    Returns:
        The exit status; 128 + N where signal N ended it, as in bash.

    Raises:
        RecipeError: the log cannot be written, or the command not be started.
    """
    started = time.time()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(f"# {command}\n# Running on {socket.gethostname()}\n# Started at {_date(started)}\n#\n")
            stream.flush()
            process = subprocess.Popen(
                ["bash", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # a group of its own, so that its children end with it
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


def run_locally(call: Call) -> dict[int, int]:
    """Run the jobs of a call on this machine, side by side, and wait for all of them.

    As many run at once as there are processors for `--num-threads` each, or with `--gpu N` as the GPUs can serve, N
    for each job (which sees only its own through CUDA_VISIBLE_DEVICES); `--max-jobs-run` says otherwise. Other
    options are for schedulers and mean nothing here. SIGINT, SIGTERM and SIGHUP end the jobs.

    Returns:
        The failed jobs with their exit statuses.

    Raises:
        RecipeError: as `run_job`.
        KeyboardInterrupt: one of the signals came; the jobs have been ended.
    """
    environments, at_once = _resources(call)
    slots: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for slot in range(at_once):
        slots.put(environments[slot % len(environments)])
    watch = Watch()

    def run(job: int) -> int:
        environment = slots.get()
        try:
            return run_job(call.command(job), call.log(job), environment, watch)
        finally:
            slots.put(environment)

    with _signals_interrupt(watch), ThreadPoolExecutor(at_once) as pool:
        futures = {job: pool.submit(run, job) for job in call.jobs}
        try:
            statuses = {job: future.result() for job, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            watch.end()
            raise
    return {job: status for job, status in statuses.items() if status}


@contextlib.contextmanager
def _signals_interrupt(watch: Watch) -> Iterator[None]:
    def interrupt(number: int, _frame: Any) -> None:
        if not watch.ended:  # a second Ctrl-C must not disturb the ending of the jobs
            raise KeyboardInterrupt(signal.Signals(number).name)

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {number: signal.signal(number, interrupt) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _resources(call: Call) -> tuple[list[dict[str, str]], int]:
    """The environments that the jobs' slots take in turn, and the number of jobs that run at once."""
    jobs = len(call.jobs)
    if call.options.get("gpu", "0") != "0":
        gpus_a_job = positive_int("--gpu", call.options["gpu"])
        devices = _gpus()
        groups = [devices[start : start + gpus_a_job] for start in range(0, len(devices), gpus_a_job)]
        groups = [group for group in groups if len(group) == gpus_a_job]
        environments = [{"CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups] or [{}]
        return environments, min(jobs, call.max_jobs_run or len(environments))
    environment = {}
    threads = 1
    if "num_threads" in call.options:
        threads = positive_int("--num-threads", call.options["num_threads"])
        environment["OMP_NUM_THREADS"] = str(threads)
    at_once = max(1, _processors() // threads)
    if at_once < jobs < 1.4 * at_once:
        at_once = jobs  # as Kaldi: rather a little crowded than one job after all the others
    return [environment], min(jobs, call.max_jobs_run or at_once)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> list[str]:
    """The GPUs that a job may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        print("warning: nvidia-smi finds no GPU; the jobs run one after the other", file=sys.stderr)
        return []
    return [str(number) for number, _ in enumerate(listing.splitlines())]


def describe_failures(call: Call, failed: dict[int, int]) -> str:
    """What a user needs to know about failed jobs: which, how many, their logs and how these end.

    Args:
        call: the call.
        failed: exit status of each failed job.
    """
    lines = []
    if call.job_name:
        logs = call.log_pattern.replace(call.job_name, "*")
        lines.append(f"{len(failed)} / {len(call.jobs)} failed, log is in {logs}")
        lines.append("failed: " + ", ".join(f"{call.job_name}={job}" for job in failed))
    for job, status in list(failed.items())[:TAILS_SHOWN]:
        log = call.log(job)
        lines.append(f"job failed with status {status}, log is in {log}; it ends with")
        lines += [f"    {line}" for line in _tail(log)]
    if not call.job_name and "JOB" in call.log_pattern:
        lines.append("probably JOB=1:$nj was forgotten before the log file")
    return "\n".join(lines)


def _tail(log: Path) -> list[str]:
    with open(log, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 10_000))
        return stream.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
