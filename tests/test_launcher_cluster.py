"""Waiting for jobs of a cluster, with a scheduler that does nothing and a clock that runs fast."""

import pytest

from taste.launcher import cluster
from taste.launcher.call import parse_call
from taste.launcher.failures import Failure

HOUR = 3600.0


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class FakeScheduler:
    """Its one job leaves `status` after an hour; None: it ends then without."""

    name, task, label = "Fake", "1", "fake job"

    def __init__(self, clock, status):
        self.clock, self.status, self.asked = clock, status, []

    def submit(self, script, jobs, folder):
        self.folder = folder
        return ["7"]

    def ask(self, ids, jobs):
        self.asked.append(self.clock.now)
        ended = self.clock.now >= HOUR
        if ended and self.status is not None:
            (self.folder / "1.status").write_text(f"{self.status}\n")
        return {} if ended else {1: None}

    def cancel(self, ids):
        raise AssertionError("nothing is to be cancelled")


@pytest.fixture
def clock(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    clock = Clock()
    monkeypatch.setattr(cluster, "time", clock)
    return clock


def test_a_scheduler_is_asked_once_a_minute_while_all_goes_well(clock):
    scheduler = FakeScheduler(clock, status=0)
    assert cluster.run_on_cluster(parse_call(["x.log", "true"]), [1], scheduler) == {}
    assert scheduler.asked[0] >= 10 and len(scheduler.asked) <= 63


def test_a_job_that_ends_without_a_status_is_lost_before_long(clock):
    scheduler = FakeScheduler(clock, status=None)
    failed = cluster.run_on_cluster(parse_call(["x.log", "true"]), [1], scheduler)
    assert failed == {1: Failure("was lost: Fake says that it ended, but it left no exit status")}
    assert clock.now < HOUR + 120
