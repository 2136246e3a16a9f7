"""The call of a launcher, Kaldi's `CMD [options] [JOB=1:N] LOG command…`, and what bash gets of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from taste.errors import RecipeError
from taste.options import positive_int


@dataclass(frozen=True)
class Call:
    """One call of a launcher.

    `arguments` is the whole call; `options` maps names with underscores, as `mem` or `num_threads`, to their last
    value; `native` holds the options with one dash, which belong to the scheduler (`-q`, `-pe smp 4`); `retry` is how
    many times failed jobs run again.
    """

    arguments: list[str]
    options: dict[str, str]
    native: list[str]
    max_jobs_run: int | None
    retry: int
    job_name: str | None
    first: int
    last: int
    log_pattern: str
    command_pattern: str

    @property
    def jobs(self) -> range:
        """The numbers of the jobs; a call without `JOB=…` is job 1."""
        return range(self.first, self.last + 1)

    @property
    def num_threads(self) -> int | None:
        """The threads of each job, where the call says so."""
        if "num_threads" not in self.options:
            return None
        return positive_int("--num-threads", self.options["num_threads"])

    def name(self, job: int) -> str:
        """What people call a job, `JOB=3`."""
        return f"{self.job_name}={job}" if self.job_name else "the job"

    def names(self, jobs: Iterable[int]) -> str:
        """What people call several jobs."""
        return ", ".join(map(self.name, jobs))

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
    retry = 0
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
            elif word == "--retry":
                retry = 0 if values[0] == "0" else positive_int(word, values[0])
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
    return Call(arguments, options, native, limit, retry, job_name, first, last, log, shell_command(command))


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
