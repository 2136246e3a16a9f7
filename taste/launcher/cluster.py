"""Jobs on a cluster: one array submitted, waited for and, where the launcher is stopped, cancelled.

How a job's end becomes known: the process on the node (`run_on_node`) leaves the exit status in a file beside the logs,
for whose appearance a directory is listed every two seconds at most. The scheduler is asked about jobs that left a
status other than 0, to tell a time limit from a mistake, and otherwise ever more rarely, down to once a minute, which
finds jobs that left nothing: their node failed, or they were killed. `sbatch --wait` and `qsub -sync y` would keep
asking by themselves, and say of an array only that some member failed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from taste.errors import RecipeError
from taste.files import write_text
from taste.launcher.call import Call
from taste.launcher.failures import Failure, exit_failure
from taste.launcher.job import run_job, threads_environment
from taste.launcher.signals import interrupts

RUN_ON_NODE = Path(__file__).resolve().parents[2] / "utils" / "python" / "run_on_node.py"
LOOK_SECONDS = (0.1, 2.0)  # between looks at the status files: first, and at most
ASK_SECONDS = (10.0, 60.0)  # between questions to the scheduler: first, and at most
ASK_SOON_SECONDS = 1.0  # after a job has failed or is missed, and twice as long from then on
GIVE_UP_SECONDS = 20.0  # how long a status file may take to be seen: networked file systems are slow to show it


class Scheduler(Protocol):
    """What SLURM and Grid Engine do differently."""

    name: str
    task: str
    """The number of the job, and what the scheduler calls it, in bash on the node."""
    label: str

    def submit(self, script: Path, jobs: Sequence[int], folder: Path) -> list[str]:
        """Submit an array with these members; the scheduler's own output of member N goes to `folder`/N.out.

        Returns:
            The ids that the scheduler gave, one or more.
        """

    def ask(self, ids: list[str], jobs: Iterable[int]) -> dict[int, Failure | None]:
        """What the scheduler knows about jobs of a submission.

        Returns:
            For each job that waits or runs None; for each that something else than its command ended, what it was.
            Jobs that ended in the ordinary way, and those that the scheduler has forgotten, are missing.

        Raises:
            SchedulerSilentError: it does not answer, which may pass.
        """

    def cancel(self, ids: list[str]) -> None:
        """Take back a submission, running jobs included."""


class SchedulerSilentError(RecipeError):
    """The scheduler does not answer; the message is its client's."""


def ask_scheduler(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a command of the scheduler, out of reach of the terminal's Ctrl-C.

    Raises:
        RecipeError: it is not installed here.
    """
    if not shutil.which(command[0]):
        raise RecipeError(
            f"there is no {command[0]} in PATH, so this machine can submit no jobs: run on one of the cluster that can "
            "(perhaps after 'module load'), or name utils/run.pl in cmd.sh"
        )
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True)


def ranges(jobs: Sequence[int]) -> list[tuple[int, int]]:
    """The first and last numbers of the runs of consecutive numbers in a sorted list."""
    members = set(jobs)
    starts = [job for job in jobs if job - 1 not in members]
    ends = [job for job in jobs if job + 1 not in members]
    return list(zip(starts, ends, strict=True))


def run_on_cluster(call: Call, jobs: Sequence[int], scheduler: Scheduler) -> dict[int, Failure]:
    """Submit these jobs of a call, and wait for all of them. SIGINT, SIGTERM and SIGHUP cancel them.

    The folder of the submission, q.<log>.<random> beside the logs, is removed unless jobs fail.

    Returns:
        Why jobs failed.

    Raises:
        RecipeError: the scheduler is not there, or refuses the jobs.
        KeyboardInterrupt: one of the signals came; the jobs have been cancelled.
    """
    folder, script = _write_script(call, scheduler)
    for job in jobs:
        call.log(job).unlink(missing_ok=True)  # else the log of an earlier run would pass for that of a job never begun
    submission = None
    with interrupts() as signals:
        try:
            with signals.held():  # until the ids are known, without which nothing can be cancelled
                submission = _Submission(scheduler, scheduler.submit(script, jobs, folder), folder, set(jobs))
            failed = submission.wait()
        except BaseException:
            signals.ignore()
            if submission:
                scheduler.cancel(submission.ids)
                print(f"cancelled {scheduler.name} job {' '.join(submission.ids)}", file=sys.stderr)
            else:
                shutil.rmtree(folder)
            raise
    for job, failure in failed.items():
        if not (folder / f"{job}.status").exists() and call.log(job).exists():
            with open(call.log(job), "a", encoding="utf-8") as log:
                log.write(f"# Ended without an exit status: {failure.reason}\n")
    if not failed:
        shutil.rmtree(folder)
    return failed


def _write_script(call: Call, scheduler: Scheduler) -> tuple[Path, Path]:
    """Make the folder of a submission, and the script in it, named as the log: queues show that name."""
    directory, name = Path(call.log_pattern).parent, Path(call.log_pattern).stem
    if call.job_name:
        directory = Path(*itertools.takewhile(lambda part: call.job_name not in part, directory.parts))
        name = re.sub(rf"[._-]?{call.job_name}", "", name)
    name = re.sub(r"[^\w.-]", "_", name)
    name = name if name[:1].isalpha() else f"job{name}"  # Grid Engine refuses names that begin with a digit
    directory.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"q.{name}.", dir=directory.absolute()))
    command = shlex.join(map(str, [sys.executable, RUN_ON_NODE, folder]))
    write_text(
        folder / f"{name}.sh",
        "#!/bin/bash\n"
        f"cd {shlex.quote(str(Path.cwd()))} || exit\n"
        f"export PATH={shlex.quote(os.environ.get('PATH', os.defpath))}  # a login shell's profile may change it\n"
        "unset TASTE_TERMINAL  # which is another machine's\n"
        "# for schedulers that do not hand on the environment of the launcher\n"
        'if [[ -z "${TASTE_ROOT:-}" && -f path.sh ]]; then . ./path.sh; fi\n'
        f'exec {command} "{scheduler.task}" "{scheduler.label}" {shlex.join(call.arguments)}\n',
    )
    return folder, folder / f"{name}.sh"


class _Submission:
    """Jobs that have been submitted, and what is known of them."""

    def __init__(self, scheduler: Scheduler, ids: list[str], folder: Path, jobs: set[int]) -> None:
        self.ids = ids
        self._scheduler = scheduler
        self._folder = folder
        self._jobs = jobs  # of which it is not known yet how they ended
        self._statuses: dict[int, int] = {}  # of these: exit statuses other than 0
        self._missed: dict[int, float] = {}  # of these: when the scheduler was found to have no more to say
        self._failed: dict[int, Failure] = {}
        self._silent = False

    def wait(self) -> dict[int, Failure]:
        """Wait for all of them; returns why jobs failed."""
        pause, interval = LOOK_SECONDS[0], ASK_SECONDS[0]
        asked = time.monotonic()
        while self._jobs:
            time.sleep(pause)
            pause = min(1.2 * pause, LOOK_SECONDS[1])
            if self._look():
                interval = ASK_SOON_SECONDS
            if time.monotonic() >= asked + interval:
                interval = ASK_SOON_SECONDS if self._ask() else min(2 * interval, ASK_SECONDS[1])
                asked = time.monotonic()
        return dict(sorted(self._failed.items()))

    def _look(self) -> bool:
        """Look for exit statuses; returns whether a job failed since the last look."""
        known = set(self._statuses)
        # A change made from here lets a networked file system show what it has of others' changes.
        (self._folder / "look").touch()
        (self._folder / "look").unlink()
        self._statuses = {}
        for path in self._folder.glob("*.status"):
            if (job := int(path.stem)) in self._jobs:
                with contextlib.suppress(FileNotFoundError):  # removed, as the scheduler begins the job anew
                    self._statuses[job] = int(path.read_text())
        self._jobs -= {job for job, status in self._statuses.items() if status == 0}
        self._statuses = {job: status for job, status in self._statuses.items() if status}
        return not known >= set(self._statuses)

    def _ask(self) -> bool:
        """Ask the scheduler, and settle what follows; returns whether a job is newly missed."""
        try:
            states = self._scheduler.ask(self.ids, self._jobs)
        except SchedulerSilentError as error:
            if not self._silent:
                print(f"warning: {self._scheduler.name} does not answer, waiting goes on: {error}", file=sys.stderr)
            self._silent = True
            return False
        self._silent = False
        self._look()  # a job may have ended while the question was on its way
        now = time.monotonic()
        missed = {}
        for job in sorted(self._jobs):
            if job in states:
                failure = states[job]
            elif job in self._statuses:
                failure = exit_failure(self._statuses[job])
            else:
                missed[job] = self._missed.get(job, now)
                failure = self._lost(job) if now - missed[job] >= GIVE_UP_SECONDS else None
            if failure:
                self._failed[job] = failure
                self._jobs.discard(job)
        newly_missed = not set(missed) <= set(self._missed)
        self._missed = {job: since for job, since in missed.items() if job in self._jobs}
        return newly_missed

    def _lost(self, job: int) -> Failure:
        """The failure of a job that ended without an exit status; the scheduler's own output may say why."""
        output = self._folder / f"{job}.out"
        said = output.read_text(errors="replace") if output.exists() else ""
        if re.search("exceeded .*memory limit|oom.?kill", said, re.IGNORECASE):
            return Failure("ran out of memory; ask for more with --mem", output=output)
        reason = f"was lost: {self._scheduler.name} says that it ended, but it left no exit status"
        return Failure(reason, output=output if said else None)


def run_on_node(call: Call, folder: Path, job: int, scheduler_job: str) -> int:
    """Run one job of a call on a node, and leave its exit status in the folder of the submission.

    Returns:
        0, or 1 where the command failed: schedulers give other statuses meanings of their own.
    """
    status_file = folder / f"{job}.status"
    status_file.unlink(missing_ok=True)  # of a run that the scheduler began anew
    # Schedulers signal every process of a job; this one stays, to write how the command ended.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the command would inherit
    environment = threads_environment(call.num_threads)
    status = run_job(call.command(job), call.log(job), environment, scheduler_job=scheduler_job)
    write_text(status_file, f"{status}\n")
    return min(status, 1)
