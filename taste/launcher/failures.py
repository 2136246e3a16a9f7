"""Why jobs failed, and what people are told about it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from taste.launcher.call import Call

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


def exit_failure(status: int) -> Failure:
    """The failure of a command that ended with a status, 128 + N where signal N killed it."""
    return Failure(f"failed with status {status}" + (f" (signal {status - 128})" if 128 < status <= 192 else ""))


def describe_failures(call: Call, failed: dict[int, Failure]) -> str:
    """What a user needs to know about failed jobs: which, how many, why, their logs and how these end."""
    lines = []
    if call.job_name:
        logs = call.log_pattern.replace(call.job_name, "*")
        lines.append(f"{len(failed)} / {len(call.jobs)} failed, log is in {logs}")
        for reason in dict.fromkeys(failure.reason for failure in failed.values()):
            jobs = [job for job, failure in failed.items() if failure.reason == reason]
            lines.append(f"{reason}: {call.names(jobs)}")
    for job, failure in list(failed.items())[:TAILS_SHOWN]:
        log = failure.output or call.log(job)
        lines.append(f"{call.name(job)} {failure.reason}, log is in {log}; it ends with")
        lines += [f"    {line}" for line in _tail(log)]
    if not call.job_name and "JOB" in call.log_pattern:
        lines.append("probably JOB=1:$nj was forgotten before the log file")
    return "\n".join(lines)


def _tail(log: Path) -> list[str]:
    try:
        with open(log, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 10_000))
            return stream.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    except FileNotFoundError:
        return ["(there is no such file: the job did not start)"]
