"""Every stage is killed at a random moment and run again: what comes out is what an undisturbed run leaves."""

import json
import os
import random
import re
import shutil
import signal
import subprocess

import pytest

from tests.helpers_recipe import CORPUS, RUN, copy_chapters, make_recipe_dir, run
from tests.test_recipe import SETTINGS

SEED = 5
LAST_STAGE = 13
# What differs between two runs of the same: how long they took, when, with how much memory.
CIRCUMSTANCES = {"seconds", "time", "peak_memory_bytes", "real_time_factor"}
IN_TEXT = re.compile(rb"\d\d:\d\d:\d\d|\d+ s |\d+\.\d+ GiB|real-time factor.*|20\d\d-\d\d-\d\d[ T]\d\d:\d\d")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, pretrained_dir):
    """A recipe directory, and the options of run.sh for it."""
    folder = make_recipe_dir(tmp_path_factory.mktemp("interruption") / "recipe", SETTINGS)
    copy_chapters(CORPUS / "train", folder / "corpus/train", 2, 3)
    copy_chapters(CORPUS / "test", folder / "corpus/test", 2, 2)
    (folder / "mine.conf").write_text('train_parts="train"\ndev_parts=""\ndev_utts=2\ntest_parts="test"\n')
    options = ["--config", "mine.conf", "--corpus", "corpus", "--kmeans_K", "20", "--pretrained_dir", pretrained_dir]
    options += ["--continued_config", "conf/continued.yaml", "--train_jobs", "2", "--set_jobs", "2", "--nj", "2"]
    return folder, [*options, "--score_utts", "2", "--asr_model", "tiny.en", "--again", "false"]


def seconds_of_stages(folder):
    """How long each stage took, from run.jsonl."""
    seconds = {}
    for line in (folder / "exp/run.jsonl").read_text().splitlines():
        record = json.loads(line)
        seconds[int(record["stage"])] = seconds.get(int(record["stage"]), 0) + record["seconds"]
    return seconds


def run_and_kill(folder, options, seconds):
    """Kill a run and all that it started after some seconds; returns whether it was still running."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [RUN, *options], cwd=folder, env=environment, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        for session in sessions_within(process.pid):
            os.killpg(session, signal.SIGKILL)
        process.wait()
        return True


def sessions_within(pid):
    """The process groups of a process and its descendants: the launcher gives each job its own."""
    listing = subprocess.run(["ps", "-eo", "pid,ppid,pgid"], capture_output=True, text=True, check=True).stdout
    rows = [tuple(map(int, line.split())) for line in listing.splitlines()[1:]]
    family, groups = {pid}, set()
    for _ in rows:
        family |= {child for child, parent, _ in rows if parent in family}
    for process, _, group in rows:
        if process in family:
            groups.add(group)
    return groups


def contents(folder):
    """All that a run leaves, by path; without logs, TensorBoard's events, the records of steps, and circumstances."""
    found = {}
    for root in ("data", "dump", "exp"):
        for path in sorted((folder / root).rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_file() and not re.search(
                r"/log/|\.log$|/tensorboard/|/\.steps/|/split\d+utt/|run\.jsonl$|\.png$", name
            ):
                found[name] = comparable(path)
    return found


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
    folder, options = recipe
    of_stage = [[*options, "--stage", str(stage), "--stop_stage", str(stage)] for stage in range(LAST_STAGE + 1)]
    for stage in of_stage:
        undisturbed = run(folder, *stage)
        assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    expected, seconds = contents(folder), seconds_of_stages(folder)
    for name in ("data", "dump", "exp"):
        shutil.rmtree(folder / name)
    drawn = random.Random(SEED)
    for stage, only in enumerate(of_stage):
        moment = drawn.uniform(0.2, 0.9) * seconds.get(stage, 1)
        while not run_and_kill(folder, [*only, "--again", "true"], moment):
            moment /= 2  # it had ended before
        result = run(folder, *only)
        assert result.returncode == 0, f"stage {stage}:\n{result.stdout}{result.stderr}"
    found = contents(folder)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert not list(folder.rglob("*.partial"))


def test_a_complete_run_has_nothing_to_do_and_says_so(recipe):
    folder, options = recipe
    for stage in range(1, LAST_STAGE + 1):
        result = run(folder, *options, "--stage", str(stage), "--stop_stage", str(stage))
        assert result.returncode == 0 and "complete" in result.stdout, result.stdout + result.stderr
        assert "run again" not in result.stdout
