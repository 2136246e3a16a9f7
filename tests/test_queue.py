"""utils/queue.pl, and the recipe's stages of features and units through it, on a real Grid Engine of one node."""

import re
import signal
import subprocess

import pytest

from tests.helpers_cluster import HOST, Launched, grid_engine, missing_for_grid_engine, output
from tests.helpers_recipe import ROOT, check_features_and_units, features_and_units_through

QUEUE = ROOT / "utils/queue.pl"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The environment to use the cluster."""
    if why := missing_for_grid_engine():
        pytest.skip(why)
    with grid_engine(tmp_path_factory.mktemp("grid_engine")) as environment:
        yield environment


@pytest.fixture(scope="module", autouse=True)
def slow(cluster, tmp_path_factory):
    """What takes some seconds, begun before the other tests."""

    def begin(name, *options, command):
        folder = tmp_path_factory.mktemp(name)
        return Launched(folder, cluster, QUEUE, "--retry", "1", *options, "JOB=1:2", "x.JOB.log", *command)

    second_sleeps = ["test", "JOB", "-eq", "1", "||", "sleep", "600"]
    return {
        "time": begin("time", "--time", "0:0:10", command=second_sleeps),
        "deleted": begin("deleted", command=second_sleeps),
        "unstarted": begin("unstarted", "-wd", "/none", command=["true"]),
    }


@pytest.fixture
def launch(cluster, tmp_path):
    return lambda *arguments: Launched(tmp_path, cluster, QUEUE, *arguments)


@pytest.fixture(scope="module")
def deleted(cluster, slow):
    """A call of which a job was deleted, to be noticed some seconds later."""
    job = re.search(r"Grid Engine job (\S+)", slow["deleted"].wait_for("x.2.log", "Started"))[1]
    subprocess.run(["qdel", job], env=cluster, check=True)
    return slow["deleted"]


@pytest.mark.usefixtures("deleted")
def test_features_and_units_of_a_recipe(cluster, prepared_recipe):
    result = features_and_units_through("utils/queue.pl --time 1:0:0", prepared_recipe, cluster)
    assert result.returncode == 0, result.stdout + result.stderr
    check_features_and_units(prepared_recipe, launched_by=f"# Running on {HOST}, Grid Engine job ")


def test_options_reach_grid_engine(launch, cluster):
    script = "qstat -j $JOB_ID ; echo told $NSLOTS $OMP_NUM_THREADS $PATH"
    options = ["--num-threads", "2", "--mem", "50M", "--time", "0:5:0", "--gpu", "0", "-p", "-5"]
    launched = launch(*options, "--max-jobs-run", "3", "part=3", "log/part/3.log", *script.split())
    assert launched.finish() == (0, "")
    log = launched.text("log/3/3.log")
    assert re.search(rf"^# Running on {HOST}, Grid Engine job \d+\.3$", log, re.MULTILINE)
    told = dict(re.findall(r"^(\w[\w -]+): +(.*)", log, re.MULTILINE))
    assert set(told["hard resource_list"].split(",")) == {"h_rt=300", "mem_free=50M"}
    assert told["job_name"] == "job3.sh" and told["job-array tasks"] == "3-3:1" and told["maximum concurrency"] == "3"
    assert told["parallel environment"].startswith("smp range: 2")
    assert f"\ntold 2 2 {cluster['PATH']}\n" in log and "Ended (code 0)" in log
    assert [path.name for path in (launched.folder / "log").iterdir()] == ["3"]


def test_only_what_failed_runs_again(launch):
    """Commands of an array are killed, as the kernel does where memory runs out; the gap makes two arrays of them."""
    script = "echo >> runs.JOB ; test $((JOB%2)) -eq 1 || test $(wc -l <runs.JOB) -eq 2 || kill -9 $$"
    launched = launch("--retry", "1", "JOB=1:5", "x.JOB.log", *script.split())
    status, said = launched.finish()
    assert status == 0, said
    assert "failed with status 137 (signal 9): JOB=2, JOB=4\n" in said and "again, 1 of 1: JOB=2, JOB=4\n" in said
    assert [len(launched.text(f"runs.{job}")) for job in (1, 2, 3, 4, 5)] == [1, 2, 1, 2, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_delete_the_jobs(launch, cluster, number):
    launched = launch("JOB=1:9", "--max-jobs-run", "1", "x.JOB.log", "sleep", "600")
    job = re.search(r"Grid Engine job (\d+)", launched.wait_for("x.1.log", "Started"))[1]
    launched.process.send_signal(number)
    assert launched.finish() == (130, f"cancelled Grid Engine job {job}\n")
    lines = [line.split() for line in output("qstat", environment=cluster).splitlines()]
    assert {line[4] for line in lines if line[:1] == [job]} <= {"dr", "dt"}  # at most one, whose end is on its way


def test_what_grid_engine_refuses_is_said(launch):
    status, said = launch("-l", "nonsense=3", "x.log", "true").finish()
    assert status == 1
    assert 'Grid Engine refused the job: Unable to run job: unknown resource "nonsense"' in said
    assert "It was called as qsub -V -cwd -S /bin/bash -l nonsense=3 -terse" in said


def test_an_exceeded_time_limit_is_named(slow):
    status, said = slow["time"].finish()
    assert status == 1
    assert re.search(r"1 / 2 failed.*\nexceeded its time limit \(Grid Engine: .* --time: JOB=2$", said, re.MULTILINE)
    assert "again" in said and "# Ended without an exit status: exceeded" in slow["time"].text("x.2.log")


def test_a_job_that_was_deleted_is_not_run_again(deleted):
    status, said = deleted.finish()
    assert status == 1
    assert re.search(r"1 / 2 failed.*\nwas deleted, or exceeded a limit of its queue .*: JOB=2$", said, re.MULTILINE)
    assert "again" not in said


def test_a_job_that_cannot_be_started_does_not_wait_for_ever(slow, cluster):
    status, said = slow["unstarted"].finish()
    assert status == 1
    assert re.search(r"could not be started by Grid Engine: .*can't chdir to /none.*: JOB=1", said, re.MULTILINE)
    assert "Eqw" not in output("qstat", environment=cluster)
