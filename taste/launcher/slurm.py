"""SLURM as a scheduler of jobs: sbatch, squeue, scancel."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from taste.errors import RecipeError
from taste.launcher.call import Call
from taste.launcher.cluster import SchedulerSilentError, ask_scheduler, ranges, run_on_cluster
from taste.launcher.conf import find_conf, read_conf, submit_command
from taste.launcher.failures import Failure

# How a job can end other than by itself: squeue(1), "JOB STATE CODES".
FAILURES = {
    "BOOT_FAIL": Failure("was lost: its node did not start (SLURM: BOOT_FAIL)"),
    "CANCELLED": Failure("was cancelled (SLURM: CANCELLED)", again=False),
    "DEADLINE": Failure("missed its deadline (SLURM: DEADLINE)"),
    "NODE_FAIL": Failure("was lost: its node failed (SLURM: NODE_FAIL)"),
    "OUT_OF_MEMORY": Failure("ran out of memory (SLURM: OUT_OF_MEMORY); ask for more with --mem"),
    "PREEMPTED": Failure("was preempted by another job (SLURM: PREEMPTED)"),
    "REVOKED": Failure("was revoked by another cluster (SLURM: REVOKED)", again=False),
    "TIMEOUT": Failure("exceeded its time limit (SLURM: TIMEOUT); ask for more with --time"),
}
ENDED_BY_ITSELF = {"COMPLETED", "FAILED"}


def run_with_slurm(call: Call, jobs: Sequence[int]) -> dict[int, Failure]:
    """Run these jobs of a call as one array of SLURM's, as conf/slurm.conf says; see `run_on_cluster`."""
    return run_on_cluster(call, jobs, Slurm(submit_command(read_conf(find_conf(call, "slurm.conf")), call), call))


class Slurm:
    """The scheduler of a call.

    What became of a job is asked of squeue, not of sacct: sacct needs a database that small clusters do not have,
    while slurmctld remembers ended jobs for MinJobAge, five minutes by default, and is asked every minute.
    """

    name = "SLURM"
    task = "$SLURM_ARRAY_TASK_ID"
    label = "SLURM job ${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"

    def __init__(self, command: list[str], call: Call) -> None:
        self._command = command
        self._limit = f"%{call.max_jobs_run}" if call.max_jobs_run else ""

    def submit(self, script: Path, jobs: Sequence[int], folder: Path) -> list[str]:
        """Submit an array, whose members have the numbers of the jobs.

        Raises:
            RecipeError: sbatch is not there, or refuses.
        """
        array = ",".join(f"{first}-{last}" for first, last in ranges(jobs)) + self._limit
        command = [*self._command, "--parsable", f"--array={array}", f"--output={folder}/%a.out", str(script)]
        result = ask_scheduler(command)
        if result.returncode:
            raise RecipeError(f"SLURM refused the job: {result.stderr.strip()}\nIt was called as {shlex.join(command)}")
        return [result.stdout.strip().partition(";")[0]]  # a cluster's name may follow

    def ask(self, ids: list[str], jobs: Iterable[int]) -> dict[int, Failure | None]:
        """What squeue says of a submission's jobs, all of them whether they are in `jobs` or not."""
        command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(ids)}", "--format=%K %T"]
        result = ask_scheduler(command)
        if result.returncode and "Invalid job id" not in result.stderr:  # which is one that SLURM has forgotten
            raise SchedulerSilentError(result.stderr.strip())
        states = [line.split() for line in result.stdout.splitlines()]
        return {int(job): FAILURES.get(state) for job, state in states if state not in ENDED_BY_ITSELF}

    def cancel(self, ids: list[str]) -> None:
        """Cancel a submission."""
        result = ask_scheduler(["scancel", *ids])
        if result.returncode:
            print(f"warning: scancel {' '.join(ids)} failed: {result.stderr.strip()}", file=sys.stderr)
