"""Steps of stages that are done once: left alone while complete, gone on with after a stop, done again after a change.

A step is a command with the files that it reads and writes. `FOLDER/.steps/NAME.json` records how these files were when
the step ended, and the command's options; what differs from that record says whether the step has to be done again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from taste.errors import RecipeError
from taste.files import read_json, sha256, write_json
from taste.run_records import RunRecord

STARTED, COMPLETE = "started", "complete"
# Options of commands that change how a step is done and not what comes out.
MANNERS = ("cmd", "nj", "jobs", "num_threads", "num_processes", "num_nodes", "made_by")
SHOWN = 3  # differences
SAFETENSORS_PARTIAL = ".tmp??????"  # what safetensors calls a file that it has not written whole yet

State = dict[str, Any]  # of a file: size, mtime_ns, sha256


@dataclass(frozen=True)
class Step:
    """A command, and the files that tell whether it has to be run.

    Attributes:
        stage: its number.
        folder: where the record goes: a data directory, a system's directory.
        name: of the record, one of its own within the folder.
        command: the program and its arguments.
        inputs: files, folders (all the files in them) and patterns that it reads.
        outputs: likewise, that it writes.
        updates: likewise, that it reads and writes anew.
        work: folders and patterns of what it leaves when it is stopped and goes on from; removed where it begins anew.
        state: likewise, of what took so long that it is not removed: with other inputs or options the step is refused.
        shared: likewise, that it writes as other recipes may at the same time: what is half-written there stays.
        launcher: words before the command that say where and how it runs.
    """

    stage: str
    folder: Path
    name: str
    command: Sequence[str]
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    updates: Sequence[str] = ()
    work: Sequence[str] = ()
    state: Sequence[str] = ()
    shared: Sequence[str] = ()
    launcher: Sequence[str] = ()

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"Stage {self.stage}, {self.name} of {self.folder}"

    @property
    def record_path(self) -> Path:
        """Where its record is."""
        return self.folder / ".steps" / f"{self.name}.json"

    def written(self) -> dict[str, State]:
        """How the files are that it has written."""
        return states([*self.outputs, *self.updates, *self.shared])

    def options(self) -> dict[str, str]:
        """The command's options and what stands without one, without those that only say how it is done."""
        options: dict[str, list[str]] = {"": []}
        name = ""
        for word in self.command:
            if word.startswith("--"):
                name = word[2:]
                options[name] = []
            else:
                options[name].append(word)
        return {name: " ".join(words) for name, words in options.items() if name not in MANNERS}


def run_step(step: Step, exp_dir: Path, again: bool = False, check_contents: bool = False) -> int:
    """Run a step's command, unless its outputs are complete for its present inputs and options.

    A step that was stopped goes on from what it left, where inputs and options are the same; else that is removed
    first. Each command that is run is noted in `exp_dir/run.jsonl`.

    Args:
        exp_dir: of the run.
        again: run it even if it is complete, from the start.
        check_contents: files are the same where their contents are, whatever their times; else by size and time.

    Returns:
        The command's exit status; 0 where it need not be run.

    Raises:
        RecipeError: the same step is being run by someone else, a record is damaged, or an unfinished training would
            be lost.
    """
    with _alone(step) as lock:
        records = _read_records(step.record_path.parent)
        record = records.pop(step.name, {})
        differences = _differences(step, record, records, check_contents) if record else []
        if record.get("state") == COMPLETE and not differences and not again:
            if check_contents:  # the times may be others
                record |= {"inputs": states(step.inputs), "outputs": step.written()}
                write_json(step.record_path, record)
            print(f"{step.title}: complete", flush=True)
            return 0
        goes_on = record.get("state") == STARTED and not differences
        if record.get("state") == STARTED and differences and (held := files_of(step.state)):
            raise RecipeError(
                f"{held[0]} is of an unfinished run with other inputs or options: {_in_words(differences)}; give those "
                "again to go on with it, or remove the file to begin anew"
            )
        if differences:
            print(f"{step.title}, is run again: {_in_words(differences)}", flush=True)
        elif goes_on:
            print(f"{step.title}, was stopped and goes on", flush=True)
        if not goes_on:
            _remove(step.work)
        _remove_partial_files(step)
        before = {path: _before(path, state, record, records) for path, state in states(step.updates).items()}
        started = {"state": STARTED, "options": step.options(), "inputs": states(step.inputs), "before": before}
        write_json(step.record_path, started)
        run = RunRecord(step.stage, f"{step.name} of {step.folder}", step.command)
        status = subprocess.run([*step.launcher, *step.command], pass_fds=[lock]).returncode
        outputs = step.written() if status == 0 else {}
        if status == 0:
            write_json(step.record_path, {**started, "state": COMPLETE, "outputs": outputs})
        run.write(exp_dir, status, started["inputs"], outputs)
        return status


def states(patterns: Iterable[str]) -> dict[str, State]:
    """Size, time of change and SHA-256 of files, by path, sorted; of folders, all the files in them."""
    found = {}
    for path in files_of(patterns):
        stat = path.stat()
        found[str(path)] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256(path)}
    return found


def files_of(patterns: Iterable[str]) -> list[Path]:
    """The files that paths and patterns stand for, sorted; those of a folder without hidden ones."""
    found: set[Path] = set()
    for pattern in patterns:
        for path in _matches(pattern):
            inside = path.rglob("*") if path.is_dir() else [path]
            found |= {each for each in inside if each.is_file() and not _is_hidden(each, path)}
    return sorted(found)


def _matches(pattern: str) -> list[Path]:
    return [Path(path) for path in glob(pattern)]  # noqa: PTH207, as Path.glob takes no absolute pattern


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _read_records(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: read_json(path, "the stage") for path in folder.glob("*.json")}


def _differences(
    step: Step, record: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]], check_contents: bool
) -> list[str]:
    """What differs from a step's record, in words; of its outputs too, where it is complete."""
    found = _option_differences(record["options"], step.options())
    inputs = set(map(str, files_of(step.inputs)))
    found += [f"{path} is new" for path in sorted(inputs - record["inputs"].keys())]
    for path, state in {**record["inputs"], **record.get("outputs", {})}.items():
        if not Path(path).is_file():
            found.append(f"{path} is missing")
        elif not any(_is_same(path, each, check_contents) for each in _left_as(path, state, others)):
            found.append(f"{path} has changed")
    return found


def _option_differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    found = []
    for name in sorted(before.keys() | now.keys()):
        option = f"--{name}" if name else "arguments"
        if name not in now:
            found.append(f"{option} {before[name]} is gone")
        elif name not in before:
            found.append(f"{option} {now[name]} is new")
        elif before[name] != now[name]:
            found.append(f"{option} was {before[name] or 'empty'}, is {now[name] or 'empty'}")
    return found


def _left_as(path: str, state: State, others: Mapping[str, Mapping[str, Any]]) -> list[State | None]:
    """The states that a file may be in since it was in `state`: later steps that update it have left it so.

    None stands for any: a step that was to update it has been stopped.
    """
    found: list[State | None] = [state]
    for former in found:
        updates = [other for other in others.values() if former is not None and other["before"].get(path) == former]
        found += [after for each in updates if (after := each.get("outputs", {}).get(path)) not in found]
    return found


def _before(path: str, state: State, record: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> State:
    """In which state a file that the step updates was before the step first did so.

    It is the present one, where another step has left it so or the step has no record, else what the record says.
    """
    is_others = any(other.get("outputs", {}).get(path) == state for other in others.values())
    return state if is_others else record.get("before", {}).get(path, state)


def _is_same(path: str, state: State | None, check_contents: bool) -> bool:
    if state is None:
        return True
    if check_contents:
        return sha256(path) == state["sha256"]
    stat = Path(path).stat()
    return (stat.st_size, stat.st_mtime_ns) == (state["size"], state["mtime_ns"])


def _in_words(differences: Sequence[str]) -> str:
    more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    return ", ".join(differences[:SHOWN]) + more


def _remove(patterns: Iterable[str]) -> None:
    for path in (path for pattern in patterns for path in _matches(pattern)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _remove_partial_files(step: Step) -> None:
    """Remove what `taste.files.atomic_path` and safetensors were writing when an earlier run was killed.

    Only of the step's own files, their backups and its record: others that run beside it are writing theirs.
    """
    for path in map(Path, (*step.outputs, *step.updates, *step.work, *step.state, str(step.record_path))):
        partial = f".{path.name}.*.partial"
        found = [*_matches(str(path.parent / partial)), *_matches(str(path.parent / ".*" / partial))]
        if path.suffix == ".safetensors":
            found += _matches(str(path.parent / SAFETENSORS_PARTIAL))
        for folder in filter(Path.is_dir, _matches(str(path))):
            found += [*folder.rglob(".*.partial"), *folder.rglob(SAFETENSORS_PARTIAL)]
        for each in found:
            each.unlink()


@contextlib.contextmanager
def _alone(step: Step) -> Iterator[int]:
    """Hold the step's lock, which the command inherits: as long as either lives, nobody else runs the step.

    Raises:
        RecipeError: someone holds it; the message says who.
    """
    path = step.record_path.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            raise RecipeError(
                f"{step.title} is being run already ({stream.read().strip()}); wait for it, or stop it"
            ) from error
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        stream.flush()
        yield stream.fileno()
