"""What a launcher does about jobs that failed: it runs them again where it may, and says what became of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from taste.errors import RecipeError
from taste.launcher.call import Call, parse_call

TAIL_LINES = 10
TAILS_SHOWN = 3


@dataclass(frozen=True)
class Failure:
    """Why a job failed.

    `reason` goes on from the job's name: "failed with status 1", "was cancelled". `again` is whether `--retry` may
    run it: what somebody cancelled stays so. `output` is the file that tells more than the job's log, if there is one.
    """

    reason: str
    again: bool = True
    output: Path | None = None


Run = Callable[[Call, Sequence[int]], dict[int, Failure]]


def exit_failure(status: int) -> Failure:
    """The failure of a command that ended with a status, 128 + N where signal N killed it."""
    return Failure(f"failed with status {status}" + (f" (signal {status - 128})" if 128 < status <= 192 else ""))


def launch(usage: str, run: Run) -> None:
    """Run the call on the command line, and the failed jobs again as often as `--retry` says.

    Args:
        usage: what `--help` prints.
        run: runs these jobs of a call, waits for them and returns why some failed.

    Raises:
        RecipeError: the call is wrong, or jobs failed in the end.
    """
    if sys.argv[1:] in ([], ["--help"], ["-h"]):
        print(usage.strip())
        sys.exit(0 if sys.argv[1:] else 1)
    call = parse_call(sys.argv[1:])
    failed = run(call, call.jobs)
    for attempt in range(1, call.retry + 1):
        again = [job for job, failure in failed.items() if failure.again]
        if not again:
            break
        print(describe_failures(call, failed), file=sys.stderr)
        print(f"running again, {attempt} of {call.retry}: {_names(call, again)}", file=sys.stderr)
        failed = {job: failure for job, failure in failed.items() if not failure.again} | run(call, again)
    if failed:
        raise RecipeError(describe_failures(call, failed))


def describe_failures(call: Call, failed: dict[int, Failure]) -> str:
    """What a user needs to know about failed jobs: which, how many, why, their logs and how these end."""
    lines = []
    if call.job_name:
        logs = call.log_pattern.replace(call.job_name, "*")
        lines.append(f"{len(failed)} / {len(call.jobs)} failed, log is in {logs}")
        for reason in dict.fromkeys(failure.reason for failure in failed.values()):
            jobs = [job for job, failure in failed.items() if failure.reason == reason]
            lines.append(f"{reason}: {_names(call, jobs)}")
    for job, failure in list(failed.items())[:TAILS_SHOWN]:
        log = failure.output or call.log(job)
        lines.append(f"{call.name(job)} {failure.reason}, log is in {log}; it ends with")
        lines += [f"    {line}" for line in _tail(log)]
    if not call.job_name and "JOB" in call.log_pattern:
        lines.append("probably JOB=1:$nj was forgotten before the log file")
    return "\n".join(lines)


def _names(call: Call, jobs: Sequence[int]) -> str:
    return ", ".join(map(call.name, jobs))


def _tail(log: Path) -> list[str]:
    try:
        with open(log, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 10_000))
            return stream.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    except FileNotFoundError:
        return ["(there is no such file: the job did not start)"]
