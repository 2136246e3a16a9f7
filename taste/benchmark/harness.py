"""Two ways of doing the same work, run in turn, each in a process of its own: time, memory, floating-point operations.

Whatever slows the machine down meets both alike, so the ratio of a pair of runs says more than their times.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from taste.errors import RecipeError

MATRIX_SIZE = 2048  # rows and columns of the matrices whose product gives the machine's rate
PROFILED_OPERATIONS = 8  # named of a side that misses its mark


@dataclass(frozen=True)
class Side:
    """One way of doing the work.

    Attributes:
        name: for the table.
        factory: makes ready, in the side's own process, and returns a function that does the work once and returns the
            floating-point operations of its matrix products, a multiplication and an addition being two; 0: not known.
        settings: what the factory is called with.
        without: variables that its process does not find in the environment.
    """

    name: str
    factory: Callable[..., Callable[[], float]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    without: Sequence[str] = ()


@dataclass(frozen=True)
class Measurement:
    """What the runs of one side took."""

    seconds: list[float]
    operations: float  # of a run
    peak_memory: int  # bytes, of the whole process

    @property
    def operations_per_second(self) -> float:
        """The rate of its matrix products in the median run."""
        return self.operations / median(self.seconds)


@dataclass(frozen=True)
class Comparison:
    """Two sides, measured in turn."""

    ours: Measurement
    peer: Measurement
    profile: str  # of ours

    @property
    def ratios(self) -> list[float]:
        """How many times as long the peer took, pair by pair."""
        return [peer / ours for ours, peer in zip(self.ours.seconds, self.peer.seconds, strict=True)]

    @property
    def memory_ratio(self) -> float:
        """Our peak memory as a share of the peer's."""
        return self.ours.peak_memory / self.peer.peak_memory


def compare(ours: Side, peer: Side, runs: int, threads: int) -> Comparison:
    """Measure two sides in turn.

    Args:
        runs: counted runs of each, after one that warms up.
        threads: of torch, in each process.

    Raises:
        RecipeError: a side cannot be run here; says why.
    """
    with _worker(ours, threads) as run_ours, _worker(peer, threads) as run_peer:
        for run in (run_ours, run_peer):
            run("work")
        pairs = [(run_ours("work"), run_peer("work")) for _ in range(runs)]
        measured = [
            Measurement([seconds for seconds, _, _ in side], side[-1][1], side[-1][2])
            for side in zip(*pairs, strict=True)
        ]
        return Comparison(*measured, profile=run_ours("profile"))


def measure_alone(side: Side, threads: int) -> Measurement:
    """One run of a side, without a peer.

    Raises:
        RecipeError: it cannot be run here; says why.
    """
    with _worker(side, threads) as run:
        seconds, operations, peak_memory = run("work")
        return Measurement([seconds], operations, peak_memory)


def matrix_product_rate(dtype: str, threads: int, device: str = "cpu") -> float:
    """Floating-point operations a second of the fastest of some large matrix products: what a machine can reach."""
    side = Side(dtype, matrix_product, {"dtype": dtype, "device": device})
    with _worker(side, threads) as run:
        return max(operations / seconds for seconds, operations, _ in (run("work") for _ in range(10)))


def matrix_product(dtype: str, device: str) -> Callable[[], float]:
    """A product of two square matrices, as a side."""
    import torch

    size = (MATRIX_SIZE, MATRIX_SIZE)
    a, b = (torch.randn(size, dtype=getattr(torch, dtype), device=device) for _ in range(2))

    def work() -> float:
        torch.matmul(a, b)
        if device != "cpu":
            torch.cuda.synchronize()
        return 2 * MATRIX_SIZE**3

    return work


@contextmanager
def _worker(side: Side, threads: int) -> Any:
    """A process that has made ready; yields a function that sends it an order and returns its answer."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, side, threads), daemon=False)
    hidden = {name: os.environ.pop(name) for name in side.without if name in os.environ}
    process.start()
    os.environ |= hidden
    there.close()

    def run(order: str) -> Any:
        here.send(order)
        try:
            answer = here.recv()
        except EOFError as error:
            process.join()
            raise RecipeError(f"{side.name}: its process ended with exit status {process.exitcode}") from error
        if isinstance(answer, RecipeError):
            raise answer
        return answer

    try:
        run("get ready")
        yield run
    finally:
        here.close()
        process.join()


def _serve(connection: Connection, side: Side, threads: int) -> None:
    """Answer orders until the other end is closed, or its process is gone."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with suppress(EOFError, ConnectionError):
        work: Callable[[], float] | None = None
        while True:
            order = connection.recv()
            try:
                if order == "get ready":
                    work, answer = side.factory(**side.settings), None
                elif order == "profile":
                    answer = _profile(work)
                else:
                    start = time.perf_counter()
                    operations = work()
                    answer = (time.perf_counter() - start, operations, peak_memory())
            except RecipeError as error:
                answer = error
            connection.send(answer)


def _profile(work: Callable[[], float]) -> str:
    """The operations that a run spends most of its time in, and their shares, in words."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    operations = sorted(profiled.key_averages(), key=lambda each: each.self_cpu_time_total, reverse=True)
    total = sum(each.self_cpu_time_total for each in operations)
    named = operations[:PROFILED_OPERATIONS]
    return ", ".join(f"{each.key} {each.self_cpu_time_total / total:.0%} ({each.count} calls)" for each in named)


def peak_memory() -> int:
    """The most memory this process has held since its program began, in bytes; of a GPU, if it has used one.

    Not `ru_maxrss`, which counts what the process held before that, as a copy of its parent.
    """
    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
