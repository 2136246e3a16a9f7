import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taste.errors import RecipeError
from taste.launcher.call import parse_call, shell_command

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "utils" / "run.pl"
QUOTINGS = [
    ["echo", "a b", "|", "tr", "a", "c"],
    ["echo", 'say "this"', "$((1+1))", "*.none"],
    ["echo", "x", "y", ">&2"],
    ["false", "||", "echo", "JOB and", "xJOBy"],
    ["V=3", ";", "echo", "V is $V", "$V", ""],
    ["printf", "%s\\n", "ark:gunzip -c x.JOB.gz|"],
]


def run(*arguments, cwd, **environment):
    command = [str(argument) for argument in (sys.executable, RUN, *arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})


def output(log):
    """What the command itself wrote to its log."""
    return "".join(line for line in Path(log).read_text().splitlines(keepends=True) if not line.startswith("#"))


def test_log_tells_command_host_times_and_status(tmp_path):
    assert run("exp/log dir/a.log", "echo", "hello world", cwd=tmp_path).returncode == 0
    log = (tmp_path / "exp/log dir/a.log").read_text()
    assert re.fullmatch(
        r'# echo "hello world"\n# Running on \S+\n# Started at .+\n#\nhello world\n'
        r"# Accounting: time=\d+ threads=1\n# Ended \(code 0\) at .+, elapsed time \d+ seconds\n",
        log,
    )


def test_jobs_get_their_numbers(tmp_path):
    call = ["--mem", "4G", "TASK=3:5", "--num-threads", "2", "log/x.TASK.log"]
    result = run(*call, "echo", "TASK of 5", "$OMP_NUM_THREADS", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [output(tmp_path / f"log/x.{job}.log") for job in (3, 4, 5)] == [f"{job} of 5 2\n" for job in (3, 4, 5)]
    assert run("JOB=7", "y.JOB.log", "echo", "JOB", cwd=tmp_path).returncode == 0
    assert output(tmp_path / "y.7.log") == "7\n"


def test_failed_jobs_are_named_with_the_ends_of_their_logs(tmp_path):
    result = run("JOB=1:4", "x.JOB.log", "echo", "in JOB", ";", "test", "JOB", "-ne", "3", cwd=tmp_path)
    assert result.returncode == 1
    assert "1 / 4 failed, log is in x.*.log" in result.stderr
    assert "failed with status 1: JOB=3" in result.stderr
    assert "    in 3\n" in result.stderr and "in 2" not in result.stderr
    assert "Ended (code 1)" in (tmp_path / "x.3.log").read_text()
    assert run("y.log", "no-such-program", cwd=tmp_path).returncode == 1
    assert "Ended (code 127)" in (tmp_path / "y.log").read_text()


def test_only_failed_jobs_run_again(tmp_path):
    script = "echo run >>runs.JOB ; test JOB -ne 2 || test $(wc -l <runs.2) -eq 2"
    result = run("--retry", "3", "JOB=1:3", "x.JOB.log", *script.split(), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "failed with status 1: JOB=2\n" in result.stderr and "running again, 1 of 3: JOB=2\n" in result.stderr
    assert [(tmp_path / f"runs.{job}").read_text() for job in (1, 2, 3)] == ["run\n", "run\nrun\n", "run\n"]
    result = run("--retry", "2", "y.log", "echo", ">>runs", ";", "false", cwd=tmp_path)
    assert result.returncode == 1
    assert (tmp_path / "runs").read_text() == "\n" * 3


def test_max_jobs_run_limits_what_runs_at_once(tmp_path):
    script = "echo start >> times; sleep 0.2; echo end >> times"
    assert run("--max-jobs-run", "1", "JOB=1:3", "x.JOB.log", "bash", "-c", script, cwd=tmp_path).returncode == 0
    assert (tmp_path / "times").read_text() == "start\nend\n" * 3
    (tmp_path / "times").unlink()
    assert run("--max-jobs-run", "3", "JOB=1:3", "x.JOB.log", "bash", "-c", script, cwd=tmp_path).returncode == 0
    assert (tmp_path / "times").read_text() == "start\n" * 3 + "end\n" * 3


def test_each_job_has_gpus_of_its_own(tmp_path):
    script = "sleep 0.2; echo $CUDA_VISIBLE_DEVICES"
    result = run("--gpu", "1", "JOB=1:2", "x.JOB.log", "bash", "-c", script, cwd=tmp_path, CUDA_VISIBLE_DEVICES="4,6")
    assert result.returncode == 0, result.stderr
    # "$CUDA…" stands in double quotes, so the outer bash, which is the job's own, fills it in
    assert {output(tmp_path / f"x.{job}.log") for job in (1, 2)} == {"4\n", "6\n"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_jobs_and_their_children(tmp_path, number):
    call = [sys.executable, str(RUN), "JOB=1:2", "--max-jobs-run", "2", "x.JOB.log"]
    call += ["sleep", "60", "&", "echo", "$!", ">pid.JOB", ";", "wait"]

    def heed_signal():  # tests that run in the background of a shell inherit that SIGINT is ignored
        signal.signal(number, signal.SIG_DFL)

    process = subprocess.Popen(call, cwd=tmp_path, preexec_fn=heed_signal)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not all(_text(tmp_path / f"pid.{job}") for job in (1, 2)):
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(20) != 0
    for job in (1, 2):
        assert not _is_running(_text(tmp_path / f"pid.{job}").strip())
        assert "Ended (code 143; signal 15)" in (tmp_path / f"x.{job}.log").read_text()


def _is_running(pid):
    """Whether a process is there and not only waiting to be reaped."""
    state = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[:1]
    return state not in ([], ["Z"])


def _text(path):
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.log"], "a log file and a command are needed"),
        (["--mem", "--gpu", "1", "x.log", "true"], "--mem needs a value, got --gpu"),
        (["JOB=0:3", "x.JOB.log", "true"], "no range of jobs"),
        (["JOB=4:3", "x.JOB.log", "true"], "no range of jobs"),
        (["JOB=1:3", "x.log", "true"], "has to hold JOB"),
        (["--max-jobs-run", "many", "x.log", "true"], "takes a positive number, got 'many'"),
    ],
)
def test_wrong_calls(arguments, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        parse_call(arguments)


def test_parse_call_keeps_what_schedulers_need():
    options = ["--mem", "4G", "-pe", "smp", "5", "-V", "-tc", "9"]
    call = parse_call([*options, "JOB=2:4", "--max-jobs-run", "3", "-q", "a.q", "JOB.log", "ls"])
    assert call.options == {"mem": "4G"}
    assert call.native == ["-pe", "smp", "5", "-V", "-q", "a.q"]
    assert call.max_jobs_run == 3
    assert list(call.jobs) == [2, 3, 4]
    assert (str(call.log(3)), call.command(3)) == ("3.log", "ls")


def test_unwritable_log_is_an_error_for_people(tmp_path):
    (tmp_path / "file").touch()
    result = run("file/x.log", "true", cwd=tmp_path)
    assert result.returncode == 1
    assert "cannot run the job with the log file/x.log" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(("launcher", "program"), [("slurm.pl", "sbatch"), ("queue.pl", "qsub")])
def test_without_a_scheduler_it_is_said_what_to_do(tmp_path, launcher, program):
    command = [sys.executable, ROOT / "utils" / launcher, "JOB=1:2", "log/x.JOB.log", "true"]
    result = subprocess.run(command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith(f"{launcher}: error: there is no {program} in PATH")
    assert "name utils/run.pl in cmd.sh" in result.stderr
    assert list((tmp_path / "log").iterdir()) == []


@pytest.mark.parametrize("launcher", ["run.pl", "slurm.pl", "queue.pl"])
def test_help_lists_what_all_launchers_take(launcher):
    result = subprocess.run([sys.executable, ROOT / "utils" / launcher, "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    for option in ("--mem", "--num-threads", "--gpu", "--time", "--max-jobs-run", "--retry", "--config"):
        assert option in result.stdout


def test_a_path_with_an_apostrophe_is_passed_on():
    assert shell_command(["cat", "/data/O'Brien/a.wav"]) == """cat '/data/O'"'"'Brien/a.wav'"""


@pytest.mark.skipif("KALDI_ROOT" not in os.environ, reason="KALDI_ROOT is not set: no Kaldi here")
@pytest.mark.parametrize("command", QUOTINGS)
def test_bash_gets_what_kaldi_gives_it(tmp_path, command):
    kaldi = Path(os.environ["KALDI_ROOT"]) / "egs/wsj/s5/utils/parallel/run.pl"
    assert run("JOB=1:2", "ours.JOB.log", *command, cwd=tmp_path).returncode == 0
    subprocess.run([kaldi, "JOB=1:2", "theirs.JOB.log", *command], cwd=tmp_path, check=True)
    for job in (1, 2):
        assert output(tmp_path / f"ours.{job}.log") == output(tmp_path / f"theirs.{job}.log") != ""


def test_starts_without_path_sh(tmp_path):
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    result = subprocess.run([RUN, "x.log", "true"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
