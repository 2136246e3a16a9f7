"""utils/slurm.pl, and the recipe's stages of features and units through it, on a real SLURM of one node."""

import re
import signal
import subprocess
import sys

import pytest

from tests.helpers_cluster import HOST, Launched, missing_for_slurm, output, slurm
from tests.helpers_recipe import ROOT, check_features_and_units, features_and_units_through

SLURM = ROOT / "utils/slurm.pl"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The environment to use the cluster."""
    if why := missing_for_slurm():
        pytest.skip(why)
    with slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture(scope="module", autouse=True)
def slow(cluster, tmp_path_factory):
    """What takes long, begun before the other tests: SLURM looks for exceeded time limits twice a minute."""

    def begin(name, *options, command):
        folder = tmp_path_factory.mktemp(name)
        return Launched(folder, cluster, SLURM, *options, "JOB=1:2", "x.JOB.log", *command)

    memory = [sys.executable, "-c", "x = bytearray(10 ** 8 * (JOB - 1)); import time; time.sleep(60 * (JOB - 1))"]
    # $PPID is the process on the node that runs the command; killed, it leaves no exit status
    killed = ["mkdir", "ran.JOB", "||", "exit", "0", ";", "kill", "-9", "$PPID"]
    limited = begin("time", "--time", "0:1:0", command=["test", "JOB", "-eq", "1", "||", "sleep", "600"])
    job = re.search(r"SLURM job (\w+)", limited.wait_for("x.2.log", "Started"))[1]
    # limits are counted in whole minutes, so the end that follows from this one is moved forward
    subprocess.run(["scontrol", "update", f"JobId={job}", "EndTime=now+1"], env=cluster, check=True)
    return {
        "time": limited,
        "memory": begin("memory", "--mem", "60M", command=memory),
        "killed": begin("killed", "--retry", "1", command=killed),
    }


@pytest.fixture
def launch(cluster, tmp_path):
    return lambda *arguments: Launched(tmp_path, cluster, SLURM, *arguments)


def test_features_and_units_of_a_recipe(cluster, prepared_recipe):
    result = features_and_units_through("utils/slurm.pl --mem 4G --time 1:0:0", prepared_recipe, cluster)
    assert result.returncode == 0, result.stdout + result.stderr
    check_features_and_units(prepared_recipe, launched_by=f"# Running on {HOST}, SLURM job ")


def test_options_reach_slurm(launch):
    script = "squeue --noheader --jobs=$SLURM_JOB_ID --Format=NumCPUs,TimeLimit,Partition,Name,MinMemory"
    options = ["--num-threads", "2", "--mem", "50M", "--time", "0:5:0", "--gpu", "0", "-p", "all"]
    launched = launch(*options, "part=3", "log/part/some.log", *script.split(), ";", "echo", "x", "$OMP_NUM_THREADS")
    assert launched.finish() == (0, "")
    head, told, end = re.split(r"^#\n|^# Accounting", launched.text("log/3/some.log"), flags=re.MULTILINE)
    assert head.startswith(f"# {script} ; echo x $OMP_NUM_THREADS\n# Running on {HOST}, SLURM job ")
    assert told.split() == ["2", "5:00", "all", "some.sh", "50M", "x", "2"]
    assert "Ended (code 0)" in end
    assert [path.name for path in (launched.folder / "log").iterdir()] == ["3"]


@pytest.mark.parametrize(("command", "read"), [("sbatch", ""), ("sbatch --export=PATH", "path.sh was read")])
def test_jobs_have_the_launchers_environment_or_read_path_sh(cluster, tmp_path, command, read):
    (tmp_path / "path.sh").write_text("export READ='path.sh was read'\n")
    (tmp_path / "my.conf").write_text(f"command {command}\n")
    environment = {**cluster, "TASTE_ROOT": str(ROOT)}
    launched = Launched(tmp_path, environment, SLURM, "--config", "my.conf", "x.log", "echo", "told: $READ")
    assert launched.finish() == (0, "")
    assert f"\ntold: {read}\n" in launched.text("x.log")


def test_only_what_failed_runs_again(launch):
    """The command of one job of an array is killed, as the kernel does where memory runs out."""
    script = "echo >> runs.JOB ; test JOB -ne 3 || test $(wc -l <runs.3) -eq 2 || kill -9 $$"
    launched = launch("--retry", "1", "--max-jobs-run", "2", "JOB=1:4", "x.JOB.log", *script.split())
    status, said = launched.finish()
    assert status == 0, said
    assert "failed with status 137 (signal 9): JOB=3\n" in said and "running again, 1 of 1: JOB=3\n" in said
    assert [launched.text(f"runs.{job}") for job in (1, 2, 3, 4)] == ["\n", "\n", "\n\n", "\n"]


def test_a_job_that_was_cancelled_is_not_run_again(launch, cluster):
    launched = launch("--retry", "1", "JOB=1:2", "x.JOB.log", "test", "JOB", "-eq", "1", "||", "sleep", "600")
    job = re.search(r"SLURM job (\w+)", launched.wait_for("x.2.log", "Started"))[1]
    subprocess.run(["scancel", job], env=cluster, check=True)
    status, said = launched.finish()
    assert status == 1
    assert "1 / 2 failed, log is in x.*.log\nwas cancelled (SLURM: CANCELLED): JOB=2\n" in said
    assert "again" not in said
    assert "Ended (code 143; signal 15)" in launched.text("x.2.log")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_cancel_the_jobs(launch, cluster, number):
    launched = launch("JOB=1:9", "--max-jobs-run", "1", "x.JOB.log", "sleep", "600")
    job = re.search(r"SLURM job (\w+)_", launched.wait_for("x.1.log", "Started"))[1]
    launched.process.send_signal(number)
    assert launched.finish() == (130, f"cancelled SLURM job {job}\n")
    launched.wait_for("x.1.log", "Ended (code 143; signal 15)")
    states = output(
        "squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%T", environment=cluster
    )
    assert set(states.split()) <= {"CANCELLED", "COMPLETING"}


def test_a_signal_while_jobs_are_submitted_cancels_them(launch, tmp_path):
    (tmp_path / "slow_sbatch").write_text('#!/bin/bash\ntouch "$0".begun; sleep 1; exec sbatch "$@"\n')
    (tmp_path / "slow_sbatch").chmod(0o755)
    (tmp_path / "my.conf").write_text("command ./slow_sbatch\n")
    launched = launch("--config", "my.conf", "x.log", "sleep", "600")
    launched.wait_for("slow_sbatch.begun")
    launched.process.terminate()
    status, said = launched.finish()
    assert status == 130 and re.fullmatch(r"cancelled SLURM job \d+\n", said)


def test_what_slurm_refuses_is_said(launch):
    status, said = launch("-p", "none", "x.log", "true").finish()
    assert status == 1
    assert "SLURM refused the job: sbatch: error: invalid partition specified: none" in said
    assert "It was called as sbatch --export=ALL -p none --parsable" in said
    status, said = launch("--nodes", "2", "x.log", "true").finish()
    assert status == 1 and "conf/slurm.conf has no line for --nodes 2; add a line" in said


def test_an_exceeded_time_limit_is_named(slow):
    status, said = slow["time"].finish()
    assert status == 1
    assert (
        "1 / 2 failed, log is in x.*.log\nexceeded its time limit (SLURM: TIMEOUT); ask for more with --time: JOB=2\n"
        in said
    )
    assert "Ended (code 143; signal 15)" in slow["time"].text("x.2.log")


def test_too_much_memory_is_named(slow):
    status, said = slow["memory"].finish()
    assert status == 1
    assert "1 / 2 failed, log is in x.*.log\nran out of memory; ask for more with --mem: JOB=2\n" in said
    assert "# Ended without an exit status: ran out of memory" in slow["memory"].text("x.2.log")


def test_jobs_that_leave_no_exit_status_are_noticed(slow):
    status, said = slow["killed"].finish()
    assert status == 0, said
    assert "was lost: SLURM says that it ended, but it left no exit status: JOB=1, JOB=2\n" in said
    assert "running again, 1 of 1: JOB=1, JOB=2\n" in said


def test_a_node_that_fails_is_named(launch, cluster, slow, tmp_path):
    for launched in slow.values():
        launched.finish()  # they would fail with the node
    (tmp_path / "my.conf").write_text("command sbatch --no-requeue\n")  # else SLURM itself begins the job anew
    launched = launch(
        "--config", "my.conf", "--retry", "1", "x.log", "mkdir", "ran", "||", "exit", "0", ";", "sleep", "600"
    )
    launched.wait_for("x.log", "Started")
    update = ["scontrol", "update", f"NodeName={HOST}", "Reason=test"]
    subprocess.run([*update, "State=DOWN"], env=cluster, check=True)
    subprocess.run([*update, "State=RESUME"], env=cluster)
    status, said = launched.finish()
    assert status == 0, said
    assert "the job was lost: its node failed (SLURM: NODE_FAIL), log is in x.log" in said
