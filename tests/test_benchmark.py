"""The benchmark measures what it says, and its report tells what was missed."""

import inspect
import os
import time

import pytest
import torch

from taste.benchmark import reading, scores, training_step
from taste.benchmark.harness import Comparison, Measurement, Side, compare, matrix_product_rate, measure_alone
from taste.benchmark.report import run_benchmark
from taste.benchmark.rows import Check, Row, checks, cpu_rows, gpu_rows
from taste.errors import RecipeError
from tests.helpers import model_config


def sleeping(seconds, megabytes=0, operations=0.0):
    held = []

    def work():
        held.append(b"x" * (megabytes * 10**6))
        torch.ones(2).sum()
        time.sleep(seconds)
        return operations

    return work


def missing():
    raise RecipeError("the package is not installed: pip install it")


def test_two_sides_are_compared_in_time_and_memory():
    ours = Side("ours", sleeping, {"seconds": 0.05, "operations": 100.0})
    peer = Side("peer", sleeping, {"seconds": 0.2, "megabytes": 200})
    compared = compare(ours, peer, runs=2, threads=1)
    assert all(ratio > 1.5 for ratio in compared.ratios) and len(compared.ratios) == 2
    assert compared.peer.peak_memory - compared.ours.peak_memory > 550e6  # of three runs, what is held
    assert compared.ours.operations_per_second == pytest.approx(2000, rel=0.2)
    assert "aten::sum" in compared.profile


def test_what_a_process_held_before_does_not_count():
    held = b"x" * (2 * 10**9)  # several times what torch takes
    assert measure_alone(Side("small", sleeping, {"seconds": 0.0}), 1).peak_memory < len(held)


def test_the_rate_of_matrix_products_is_that_of_the_fastest(monkeypatch):
    assert 1e9 < matrix_product_rate("float32", 1) < 1e15


def test_the_report_tells_what_was_reached_and_what_was_missed(tmp_path, monkeypatch):
    monkeypatch.setattr("taste.benchmark.report.matrix_product_rate", lambda *_: 1e9)
    slow, fast = (Side(name, sleeping, {"seconds": s}) for name, s in (("slow", 0.08), ("fast", 0.02)))
    rows = [
        Row("work done fast", fast, slow, reach=2.0),
        Row("work done slowly", slow, fast, reach=2.0),
        Row("work of a package", fast, Side("absent", missing)),
    ]
    values = [Side(f"value {x}", sleeping, {"seconds": 0.0, "operations": x}) for x in (100.0, 101.0)]
    checks = [Check("a figure that stays", values, 0.02), Check("a figure that moves", values, 0.005)]
    out = tmp_path / "BENCHMARKS.md"
    assert not run_benchmark(rows, checks, out, runs=1, threads=1, made_by="utils/benchmark.sh")
    table, missed = out.read_text().split("## Marks that were missed")
    assert "work done fast" in table and "work done fast" not in missed
    assert "work done slowly" in missed and "times as fast, not 2. Where the time goes:" in missed
    assert "pip install it" in missed
    assert "a figure that stays" in table and "a figure that stays" not in missed
    assert "a figure that moves: +1.00%, not within 0.5%" in missed
    assert run_benchmark(rows[:1], checks[:1], out, runs=1, threads=1, made_by="x") and "missed" not in out.read_text()


def test_marks_of_memory_and_rate_can_be_missed():
    from taste.benchmark.report import marks_missed

    compared = Comparison(Measurement([1.0], 10.0, 700), Measurement([2.0], 10.0, 1000), "aten::mm 100%")
    row = Row("work", Side("a", sleeping), Side("b", sleeping), reach=2.0, reach_memory=0.6, reach_rate=0.5)
    assert marks_missed(row, compared, fastest=20.0) == ["0.70 of the memory, not 0.6."]
    assert "40% of the machine's rate, not 50%" in marks_missed(row, compared, fastest=25.0)[1]


def test_a_training_step_counts_its_operations(monkeypatch):
    monkeypatch.setattr(training_step, "UNITS", 9)
    monkeypatch.setattr(training_step, "TEXT", 3)
    work = training_step.ours(model_config(), "float32")
    assert work() > 1e6
    more = training_step.ours(model_config(llm_blocks=2), "float32")
    assert more() > work()


def test_training_reads_the_same_from_archives_and_memory(monkeypatch):
    monkeypatch.setattr(reading, "UTTERANCES", 12)
    monkeypatch.setattr(reading, "SECONDS", (0.4, 0.8))
    train_on, dataset, batches = reading._epoch()
    assert len(dataset) == 12 and sum(map(len, batches)) == 12
    assert train_on(dataset.load(batches)) == 0.0
    assert reading.epoch_as_they_come()() == reading.epoch_of_embeddings(narrows=False)() == 0.0
    assert reading.training_on(30)() == reading.epoch_of_taste(finds_once=True)() == 0.0


def test_scores_are_of_spoken_utterances(pretrained_dir, monkeypatch):
    """Both sides hear the same, and say the same of it."""
    monkeypatch.setattr(scores, "UTTERANCES", 2)
    opinions, spoken = [], []
    for name, module in (("mean_opinion", scores), ("run", scores.dnsmos)):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, f=function: opinions.append(f(*given)))
    for side in (scores.our_quality, scores.speechmos_quality):
        side()()
    assert opinions[:2] == pytest.approx([each["ovrl_mos"] for each in opinions[2:]])
    transcribe = scores.Transcriber.transcribe
    monkeypatch.setattr(scores.Transcriber, "transcribe", lambda *args, **how: spoken.append(transcribe(*args, **how)))
    scores.our_transcripts("tiny.en", pretrained_dir)()
    assert all(len(each.words) > 4 for each in spoken[0])


def test_every_side_can_be_called_as_its_row_says(tmp_path):
    """Those on a GPU, too, which most machines that run this have not."""
    everything = [*cpu_rows(tmp_path, None), *gpu_rows()]
    sides = [side for row in everything for side in (row.ours, row.peer)]
    sides += [side for check in checks(tmp_path, tmp_path, None) for side in check.sides]
    assert {side.settings.get("device", "cpu") for side in sides} == {"cpu", "cuda"}
    for side in sides:
        inspect.signature(side.factory).bind(**side.settings)


def environment(names):
    return lambda: float(sum(name in os.environ for name in names))


def test_a_side_runs_without_what_it_is_not_to_find(monkeypatch):
    names = ("TASTE_ONE", "TASTE_TWO")
    for name in names:
        monkeypatch.setenv(name, "1")
    found = [
        measure_alone(Side("x", environment, {"names": names}, without), 1).operations
        for without in ((), ("TASTE_ONE", "TASTE_THREE"), ())
    ]
    assert found == [2, 1, 2]
