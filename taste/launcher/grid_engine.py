"""Grid Engine as a scheduler of jobs: qsub, qstat, qacct, qdel."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from taste.errors import RecipeError
from taste.launcher.call import Call
from taste.launcher.cluster import SchedulerSilentError, ask_scheduler, ranges, run_on_cluster
from taste.launcher.conf import find_conf, read_conf, submit_command
from taste.launcher.failures import Failure


def run_with_grid_engine(call: Call, jobs: Sequence[int]) -> dict[int, Failure]:
    """Run these jobs of a call as arrays of Grid Engine's, as conf/queue.conf says; see `run_on_cluster`."""
    conf = read_conf(find_conf(call, "queue.conf"))
    return run_on_cluster(call, jobs, GridEngine(submit_command(conf, call), call))


class GridEngine:
    """The scheduler of a call."""

    name = "Grid Engine"
    task = "$SGE_TASK_ID"
    label = "Grid Engine job $JOB_ID.$SGE_TASK_ID"

    def __init__(self, command: list[str], call: Call) -> None:
        self._command = command
        self._limit = ["-tc", str(call.max_jobs_run)] if call.max_jobs_run else []

    def submit(self, script: Path, jobs: Sequence[int], folder: Path) -> list[str]:
        """Submit an array for each run of consecutive numbers, as an array of Grid Engine's cannot have gaps.

        Raises:
            RecipeError: qsub is not there, or refuses.
        """
        ids: list[str] = []
        for first, last in ranges(jobs):
            array = ["-t", f"{first}-{last}", *self._limit, "-j", "y", "-o", f"{folder}/$TASK_ID.out"]
            command = [*self._command, "-terse", *array, str(script)]
            result = ask_scheduler(command)
            match = re.search(r"^(\d+)(\.|$)", result.stdout, re.MULTILINE)
            if result.returncode or not match:
                if ids:
                    self.cancel(ids)
                answer = (result.stderr + result.stdout).strip()
                raise RecipeError(f"Grid Engine refused the job: {answer}\nIt was called as {shlex.join(command)}")
            ids.append(match[1])
        return ids

    def ask(self, ids: list[str], jobs: Iterable[int]) -> dict[int, Failure | None]:
        """What qstat says, and what qacct says of the jobs that qstat has not; jobs in error state are deleted.

        qacct reads a file that the machine may not see, and that is up to 15 s behind: of a job that neither knows
        nothing is said.
        """
        user = pwd.getpwuid(os.getuid()).pw_name
        result = ask_scheduler(["qstat", "-xml", "-g", "d", "-u", user])
        if result.returncode:
            raise SchedulerSilentError((result.stderr + result.stdout).strip())
        states: dict[int, Failure | None] = {}
        for element in ElementTree.fromstring(result.stdout).iter("job_list"):
            if (number := element.findtext("JB_job_number", "")) in ids:
                task = int(element.findtext("tasks", "1"))
                in_error = "E" in element.findtext("state", "")
                states[task] = self._in_error(number, task) if in_error else None
        if set(jobs) - set(states):
            for number in ids:
                states = accounted(ask_scheduler(["qacct", "-j", number]).stdout) | states
        return states

    def _in_error(self, number: str, task: int) -> Failure:
        """What is wrong with a job that would wait for ever; it is deleted."""
        listing = ask_scheduler(["qstat", "-j", number]).stdout
        reason = re.search(rf"^error reason +{task}:.*?\]: (?:error: )?(.*)", listing, re.MULTILINE)
        self.cancel([f"{number}.{task}"])
        return Failure("could not be started by Grid Engine" + (f": {reason[1]}" if reason else ""), again=False)

    def cancel(self, ids: list[str]) -> None:
        """Delete a submission."""
        result = ask_scheduler(["qdel", *ids])
        if result.returncode and "does not exist" not in result.stdout + result.stderr:
            print(f"warning: qdel {' '.join(ids)} failed: {result.stdout}{result.stderr}", file=sys.stderr)


def accounted(records: str) -> dict[int, Failure | None]:
    """The jobs of qacct's output that something else than their command ended, as accounting(5) describes it.

    A job that was killed has "failed 100" whether it was deleted or exceeded a limit; only where it ran for as long as
    it had asked for is that clear.
    """
    failures: dict[int, Failure | None] = {}
    for record in records.split("=" * 62):
        fields = dict(re.findall(r"^(\w+) +(.*?) *$", record, re.MULTILINE))
        if "taskid" not in fields:
            continue
        task = int(fields["taskid"])
        failures.pop(task, None)  # of an earlier run of a job that was begun anew
        code, _, said = fields["failed"].partition(":")
        if int(code) == 0:
            continue
        said = f"(Grid Engine: failed {int(code)}, {said.strip()})"
        asked_for = re.search(r"\bh_rt=(\d+)", fields.get("category", ""))
        if asked_for and float(fields["ru_wallclock"].rstrip("s")) >= float(asked_for[1]):
            failure = Failure(f"exceeded its time limit {said}; ask for more with --time")
        elif int(code) == 37:
            failure = Failure(f"exceeded a limit of time or memory {said}")
        elif int(code) == 100:
            failure = Failure(f"was deleted, or exceeded a limit of its queue {said}", again=False)
        else:
            failure = Failure(f"was lost {said}")
        failures[task] = failure
    return failures
