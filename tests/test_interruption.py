"""Every stage is killed at a random moment and run again: what comes out is what an undisturbed run leaves."""

import contextlib
import json
import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers_recipe import CORPUS, RUN, copy_chapters, make_recipe_dir, run
from tests.test_recipe import SETTINGS

SEED = os.environ.get("TASTE_KILL_SEED", "1")  # of the moments
LAST_STAGE = 13
OURS = "TASTE_TEST_OF_KILLS"  # environment variable that all processes of a run inherit, wherever they end up
# What differs between two runs of the same: how long they took, when, with how much memory.
CIRCUMSTANCES = {"seconds", "time", "peak_memory_bytes", "real_time_factor"}
IN_TEXT = re.compile(
    rb"\d+ s(?= |</td>)|\d+\.\d+ GiB|20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?|\d\d:\d\d:\d\d"
    rb"|real-time factor<(?s:.*?)</tr>|real-time factor.*"
)
LOGS = re.compile(r"/log/|\.log$|/tensorboard/|/run\.jsonl$|/\.steps/|/\.\w+\.done$")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, pretrained_dir):
    """A recipe directory in which all stages have run, for each stage the options of its call and its seconds."""
    folder = make_recipe_dir(tmp_path_factory.mktemp("interruption") / "recipe", SETTINGS)
    utts = copy_chapters(CORPUS / "train", folder / "corpus/train", 2, 3)
    copy_chapters(CORPUS / "test", folder / "corpus/test", 1, 2)
    broken = next((folder / "corpus/train").rglob(f"{utts[0]}.opus"))
    broken.write_bytes(broken.read_bytes()[:100])  # so that stage 2 has to leave something out
    (folder / "mine.conf").write_text(
        f"pretrained_dir='{pretrained_dir}'\n"
        "corpus=corpus train_parts=train dev_parts= dev_utts=2 test_parts=test kmeans_K=20 asr_model=tiny.en\n"
        "continued_config=conf/continued.yaml systems_8=taste systems='text_only taste_rvq' heard_systems=taste_rvq\n"
        "score_utts=1 nj=1 set_jobs=2 train_jobs=2 again=false\n"
    )
    stages = range(LAST_STAGE + 1)
    calls = [["--config", "mine.conf", "--stage", f"{stage}", "--stop_stage", f"{stage}"] for stage in stages]
    return folder, [(options, run_for_seconds(folder, options)) for options in calls]


def run_for_seconds(folder, options):
    """Run a stage; returns how long that takes."""
    start = time.monotonic()
    undisturbed = run(folder, *options)
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    return time.monotonic() - start


def run_and_kill(folder, options, seconds):
    """Kill a run and all that it started after some seconds; returns whether it was still running."""
    mark = secrets.token_hex(8)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", OURS: mark}
    process = subprocess.Popen(
        [RUN, *options], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        while pids := marked_processes(mark):  # until none is left, as those that live may start others meanwhile
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # ended by itself meanwhile
                    os.kill(pid, signal.SIGKILL)
            process.poll()
        process.wait()
        return True


def marked_processes(mark):
    """The processes in whose environment the mark stands; they may have left the run's session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{OURS}={mark}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # ended, or another user's
            continue
    return found


def forget(folder, since):
    """Remove the records of steps that have been run since a time."""
    for path in folder.rglob(".steps/*.json"):
        if path.stat().st_mtime >= since:
            path.unlink()


def contents(folder):
    """All that a run leaves, by path; without logs, TensorBoard's events, the records of steps, and circumstances."""
    paths = [path for root in ("data", "dump", "exp") for path in (folder / root).rglob("*") if path.is_file()]
    found = {str(path.relative_to(folder)): path for path in sorted(paths)}
    return {name: comparable(path) for name, path in found.items() if not LOGS.search(name)}


def comparable(path):
    if path.suffix == ".json":
        return without_circumstances(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [without_circumstances(json.loads(line)) for line in path.read_text().splitlines()]
    content = path.read_bytes()
    return IN_TEXT.sub(b"", content) if path.suffix in (".md", ".html") else content


def without_circumstances(value):
    if isinstance(value, dict):
        return {key: without_circumstances(each) for key, each in value.items() if key not in CIRCUMSTANCES}
    return [without_circumstances(each) for each in value] if isinstance(value, list) else value


def test_a_run_whose_every_stage_was_killed_leaves_what_an_undisturbed_one_leaves(recipe):
    folder, stages = recipe
    expected = contents(folder)
    for name in ("data", "dump", "exp"):
        shutil.rmtree(folder / name)
    drawn = random.Random(SEED)
    for stage, (options, seconds) in enumerate(stages):
        moment, start = drawn.uniform(0, 1) * seconds, time.time()
        while not run_and_kill(folder, options, moment):  # it had ended before
            forget(folder, start)
            moment /= 2
        print(f"seed {SEED}: stage {stage} killed after {moment:.2f} s of {seconds:.2f}")
        result = run(folder, *options)
        assert result.returncode == 0, f"seed {SEED}, stage {stage}:\n{result.stdout}{result.stderr}"
    found = contents(folder)
    assert sorted(found.keys() ^ expected.keys()) == [], f"seed {SEED}"
    assert [name for name in expected if found[name] != expected[name]] == [], f"seed {SEED}"


def test_a_complete_run_has_nothing_to_do_and_says_so(recipe):
    folder, _ = recipe
    result = run(folder, "--config", "mine.conf")
    assert result.returncode == 0, result.stdout + result.stderr
    said = [line for line in result.stdout.splitlines() if line.startswith("Stage ")]
    assert {int(re.match(r"Stage (\d+)", line)[1]) for line in said} == set(range(1, LAST_STAGE + 1))
    assert all(line.endswith(": complete") for line in said), result.stdout


def test_a_stage_that_is_named_is_run_even_where_it_is_complete(recipe):
    folder, _ = recipe
    (folder / "named.conf").write_text((folder / "mine.conf").read_text().replace("again=false", ""))
    result = run(folder, "--config", "named.conf", "--stage", "1", "--stop_stage", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "complete" not in result.stdout
