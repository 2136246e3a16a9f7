"""Steps: what is complete is left alone, what was stopped goes on, what has changed is done again."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taste.errors import RecipeError
from taste.run_records import duration, run_table
from taste.steps import Step, run_step
from tests.helpers_cluster import wait_until

ROOT = Path(__file__).resolve().parents[1]
COUNTING = 'cat "$0" > "$1"; echo run >> runs'  # copies its first file to its second


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/in").write_text("one")


def copy(source="data/in", target="data/out", name="copy", options=(), **files):
    command = ["bash", "-c", COUNTING, source, target, *options]
    files = {"inputs": [source], "outputs": [target], **files}
    return Step("1", Path("data"), name, command, **files)


def runs():
    return len(Path("runs").read_text().splitlines()) if Path("runs").exists() else 0


def run(step, **options):
    assert run_step(step, Path("exp"), **options) == 0


def test_what_is_complete_is_left_alone_and_runs_again_when_asked(capsys):
    run(copy())
    run(copy())
    assert runs() == 1
    assert capsys.readouterr().out == "Stage 1, copy of data: complete\n"
    run(copy(), again=True)
    assert runs() == 2


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda: Path("data/in").write_text("two"), "data/in has changed"),
        (lambda: Path("data/out").unlink(), "data/out is missing"),
        (lambda: Path("data/out").write_text("mine"), "data/out has changed"),
        (lambda: os.utime("data/in", (1, 1)), "data/in has changed"),
    ],
)
def test_a_change_is_named_and_the_step_runs_again(change, message, capsys):
    run(copy())
    change()
    run(copy())
    assert runs() == 2 and message in capsys.readouterr().out
    assert Path("data/out").read_text() == Path("data/in").read_text()


def test_options_count_except_those_that_say_only_how(capsys):
    run(copy(options=["--K", "20", "--nj", "1"]))
    run(copy(options=["--K", "20", "--nj", "4"]))
    assert runs() == 1
    run(copy(options=["--K", "30", "--seed", "1"]))
    assert runs() == 2 and "--K was 20, is 30, --seed 1 is new" in capsys.readouterr().out


def test_a_new_file_of_a_pattern_is_a_changed_input(capsys):
    step = copy(inputs=["data/*.scp", "data/in"])
    run(step)
    Path("data/feats.scp").write_text("")
    run(step)
    assert runs() == 2 and "data/feats.scp is new" in capsys.readouterr().out


def test_with_full_check_contents_decide():
    run(copy())
    os.utime("data/in", (1, 1))
    run(copy(), check_contents=True)
    assert runs() == 1
    stat = Path("data/out").stat()
    Path("data/out").write_text("eno")
    os.utime("data/out", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    run(copy())
    assert runs() == 1
    run(copy(), check_contents=True)
    assert runs() == 2


def test_a_later_step_may_update_what_an_earlier_one_wrote(capsys):
    """As stage 2 does with the wav.scp of stage 1."""
    fix = Step(
        "2", Path("data"), "fix", ["bash", "-c", "echo more >> data/out; echo run >> fixes"], updates=["data/out"]
    )
    for _ in range(2):
        run(copy())
        run(fix)
    assert runs() == 1 and len(Path("fixes").read_text().splitlines()) == 1
    run(fix, again=True)  # updates what it has updated
    run(copy())
    assert runs() == 1 and Path("data/out").read_text() == "onemore\nmore\n"
    Path("data/in").write_text("two")
    run(copy())
    run(fix)
    run(copy())
    assert runs() == 2 and Path("data/out").read_text() == "twomore\n"
    assert len(Path("fixes").read_text().splitlines()) == 3


def test_a_failed_step_is_not_complete():
    step = Step("1", Path("data"), "fail", ["bash", "-c", "exit 3"], inputs=["data/in"])
    assert run_step(step, Path("exp")) == 3 and run_step(step, Path("exp")) == 3
    assert [row[3] for row in run_table(Path("exp"))] == ["status", "3", "3"]


def test_what_was_stopped_goes_on_and_with_other_inputs_begins_anew(capsys):
    """The command does the half that is missing; the first time it is stopped after one."""
    halves = 'echo half >> work/halves; [[ "$(wc -l < work/halves)" == 2 ]] && cp work/halves data/out'
    Path("work").mkdir()
    step = Step(
        "1",
        Path("data"),
        "halves",
        ["bash", "-c", halves],
        ["data/in"],
        ["data/out", "data/*.safetensors"],
        work=["work/*"],
    )
    assert run_step(step, Path("exp")) == 1
    Path("data/.out.99.partial").write_text("left by a killed process")
    Path("data/.other.99.partial").write_text("that a step beside it is writing")
    Path("data/.tmpOTUai6").write_text("left by safetensors")
    assert run_step(step, Path("exp")) == 0
    assert "was stopped and goes on" in capsys.readouterr().out
    assert not Path("data/.out.99.partial").exists() and Path("data/.other.99.partial").exists()
    assert not Path("data/.tmpOTUai6").exists()
    Path("data/in").write_text("two")
    assert run_step(step, Path("exp")) == 1 and Path("work/halves").read_text() == "half\n"


def test_what_other_recipes_may_be_writing_is_left_alone():
    run(copy(outputs=[], shared=["data/*.safetensors"]))
    Path("data/.model.safetensors.99.partial").touch()
    Path("data/model.safetensors").touch()
    run(copy(outputs=[], shared=["data/*.safetensors"], options=["--K", "20"]))
    assert runs() == 2 and Path("data/.model.safetensors.99.partial").exists()
    Path("data/model.safetensors").unlink()
    run(copy(outputs=[], shared=["data/*.safetensors"], options=["--K", "20"]))
    assert runs() == 3


def test_unfinished_training_is_not_lost():
    train = 'echo state > data/state.pt; exit "$0"'

    def step(status, seed):
        return Step("7", Path("data"), "train", ["bash", "-c", train, status, "--seed", seed], state=["data/state.pt"])

    assert run_step(step("1", "1"), Path("exp")) == 1
    with pytest.raises(RecipeError, match=r"state.pt is of an unfinished run .*--seed was 1, is 2"):
        run_step(step("1", "2"), Path("exp"))


def test_the_same_step_twice_at_once_is_refused_even_where_its_first_launcher_was_killed():
    command = [
        sys.executable,
        ROOT / "local/step.py",
        "5",
        "data",
        "slow",
        "--",
        "bash",
        "-c",
        "echo > going; sleep 60",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        while not Path("going").exists():
            time.sleep(0.05)
        for _ in range(2):
            second = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert second.returncode == 1
            assert f"slow of data is being run already (process {first.pid} on " in second.stderr
            first.kill()
            first.wait()
    finally:
        os.killpg(first.pid, signal.SIGKILL)


def test_a_step_is_being_run_as_long_as_one_of_its_jobs():
    """The launcher is killed, its job, which has a session of its own, lives on."""
    launcher = [ROOT / "utils/run.pl", "x.log", "echo", "$$", ">job", ";", "exec", "sleep", "60"]
    first = subprocess.Popen([ROOT / "local/step.py", "5", "data", "slow", "--", *launcher], start_new_session=True)
    wait_until(lambda: Path("job").exists() and Path("job").read_text(), what="the job")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    step = Step("5", Path("data"), "slow", ["true"])
    with pytest.raises(RecipeError, match="slow of data is being run already"):
        run_step(step, Path("exp"))
    os.kill(int(Path("job").read_text()), signal.SIGKILL)
    wait_until(lambda: is_free(step), 20, "the end of the job")
    run(step)


def is_free(step):
    with open(step.record_path.with_suffix(".lock")) as lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def test_a_job_that_has_ended_is_not_run_again_until_its_part_or_command_is_another():
    Path("part").mkdir()
    Path("part/utt2spk").touch()
    os.utime("part/utt2spk", (1, 1))

    def once(script):
        command = [ROOT / "local/once.sh", "part", "units", "bash", "-c", script]
        return subprocess.run(command, capture_output=True, text=True)

    count = "echo run >> runs; echo left out 1 of 9"
    assert once(f"{count}; exit 3").returncode == 3
    assert once(count).stdout == once(count).stdout == "left out 1 of 9\n"
    assert runs() == 2
    os.utime("part/utt2spk", None)
    once(count)
    once(f"{count}; true")
    assert runs() == 4


def test_a_line_of_the_record_that_a_kill_cut_off_is_left_out():
    run(copy())
    with open("exp/run.jsonl", "a") as stream:
        stream.write('{"stage": "1", "step": "co')
    assert len(run_table(Path("exp"))) == 2
    run(copy(), again=True)
    assert len(run_table(Path("exp"))) == 3


def test_what_was_run_is_noted(monkeypatch):
    monkeypatch.setenv("TASTE_RUN", "./run.sh --stage 1")
    run(copy(options=["--seed", "a b"]))
    (record,) = map(json.loads, Path("exp/run.jsonl").read_text().splitlines())
    assert record["run"] == "./run.sh --stage 1" and record["stage"] == "1" and record["step"] == "copy of data"
    assert record["status"] == 0 and record["host"] and record["versions"]["torch"]
    assert record["command"].endswith("data/in data/out --seed 'a b'")
    assert list(record["inputs"]) == ["data/in"] and record["outputs"]["data/out"]["size"] == 3
    header, row = run_table(Path("exp"))
    assert len(header) == len(row) and row[header.index("command")] == record["command"]


def test_show_run_prints_a_line_a_step():
    run(copy(options=["--seed", "a b"]))
    run(copy(name="again", target="data/other"))
    shown = subprocess.run([ROOT / "utils/show_run.sh"], capture_output=True, text=True, check=True).stdout
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines())
    assert [dict(zip(header, row, strict=True))["step"] for row in rows] == ["copy of data", "again of data"]
    assert all("data/in" in row[header.index("command")] and row[header.index("status")] == "0" for row in rows)
    nothing = subprocess.run([ROOT / "utils/show_run.sh", "elsewhere"], capture_output=True, text=True)
    assert nothing.returncode != 0 and "elsewhere/run.jsonl" in nothing.stderr and "Traceback" not in nothing.stderr


@pytest.mark.parametrize("seconds, text", [(4.24, "4.2 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_are_read_easily(seconds, text):
    assert duration(seconds) == text
