"""The benchmark from its rows to BENCHMARKS.md."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from taste.benchmark.harness import Comparison, Measurement, compare, matrix_product_rate, measure_alone
from taste.benchmark.rows import DTYPES, Check, Row
from taste.errors import RecipeError
from taste.files import write_text
from taste.hardware import hardware
from taste.markdown import markdown_table
from taste.provenance import commit, provenance

logger = logging.getLogger(__name__)
HEADER = ["work", "peer", "ours (s)", "peer (s)", "ratio", "mark", "memory (MB)", "share", "mark", "rate", "peer's"]


def run_benchmark(
    rows: Sequence[Row], checks: Sequence[Check], out: Path, runs: int, threads: int, made_by: str
) -> bool:
    """Measure all rows and checks and write them to `out`, anew after each.

    Args:
        runs: counted runs of each side.
        threads: of each side.
        made_by: the command, to be quoted.

    Returns:
        Whether all marks were reached.
    """
    torch.set_num_threads(threads)
    versions = ", ".join(f"{name} {version}" for name, version in provenance()["versions"].items())
    # worked out before the report is written, which is a change of the checkout
    head = f"By `{made_by}`, commit {commit()}, on {hardware(torch.device('cpu'))}; {versions}."
    devices = {side.settings.get("device", "cpu") for row in rows for side in (row.ours, row.peer)}
    rates = {(device, dtype): matrix_product_rate(dtype, threads, device) for device in devices for dtype in DTYPES}
    table, checked, missed = [], [], []
    for row in rows:
        logger.info("%s: %s beside %s", row.work, row.ours.name, row.peer.name)
        fastest = max(rate for (device, _), rate in rates.items() if device == row.ours.settings.get("device", "cpu"))
        try:
            comparison = compare(row.ours, row.peer, runs, threads)
        except RecipeError as error:
            logger.warning("not measured: %s", error)
            table.append([row.work, row.peer.name, "not measured", *[""] * (len(HEADER) - 3)])
            missed.append(f"- {row.work}, beside {row.peer.name}: not measured. {error}")
        else:
            table.append(cells(row, comparison, fastest))
            missed += [f"- {row.work}, beside {row.peer.name}: {why}" for why in marks_missed(row, comparison, fastest)]
        write_report(out, table, checked, missed, rates, runs, head)
    for check in checks:
        logger.info("%s", check.what)
        checked.append(check_cells(check, threads, missed))
        write_report(out, table, checked, missed, rates, runs, head)
    return not missed


def cells(row: Row, comparison: Comparison, fastest: float) -> list[str]:
    """The table's line of a row."""
    ours, peer = comparison.ours, comparison.peer
    ratios = sorted(comparison.ratios)
    return [
        row.work, row.peer.name, f"{median(ours.seconds):.3g} ({row.ours.name})", f"{median(peer.seconds):.3g}",
        f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", f"{row.reach:g}" if row.reach else "",
        f"{ours.peak_memory / 1e6:,.0f} and {peer.peak_memory / 1e6:,.0f}", f"{comparison.memory_ratio:.2f}",
        f"{row.reach_memory:g}" if row.reach_memory else "", _share(ours, fastest), _share(peer, fastest),
    ]  # fmt: skip


def _share(measured: Measurement, fastest: float) -> str:
    return f"{measured.operations_per_second / fastest:.0%}" if measured.operations else ""


def marks_missed(row: Row, comparison: Comparison, fastest: float) -> list[str]:
    """What of a row's marks was not reached, each with what a run of ours spends its time in."""
    ratio, memory = median(comparison.ratios), comparison.memory_ratio
    rate = comparison.ours.operations_per_second / fastest
    missed = []
    if row.reach and ratio < row.reach:
        why = f" {row.if_missed}" if row.if_missed else ""
        missed.append(f"{ratio:.3g} times as fast, not {row.reach:g}.{why} Where the time goes: {comparison.profile}.")
    if row.reach_memory and memory > row.reach_memory:
        missed.append(f"{memory:.2f} of the memory, not {row.reach_memory:g}.")
    if row.reach_rate and rate < row.reach_rate:
        missed.append(f"{rate:.0%} of the machine's rate, not {row.reach_rate:.0%}: {comparison.profile}.")
    return missed


def check_cells(check: Check, threads: int, missed: list[str]) -> list[str]:
    """The table's line of a check; what is out of bounds is added to `missed`."""
    try:
        measured = [measure_alone(side, threads) for side in check.sides]
    except RecipeError as error:
        missed.append(f"- {check.what}: not measured. {error}")
        return [check.what, "not measured", "", ""]
    values = [each.peak_memory / 1e6 if check.of_memory else each.operations for each in measured]
    figure = values[-1] / values[0] - 1 if len(values) > 1 else values[0]
    is_within = figure >= check.bound if check.is_least else abs(figure) <= check.bound
    named = ", ".join(f"{side.name} {value:.5g}" for side, value in zip(check.sides, values, strict=True))
    shown = f"{figure:+.2%}" if len(values) > 1 else f"{figure:.5f}"
    bound = f"at least {check.bound:g}" if check.is_least else f"within {check.bound:.1%}"
    if not is_within:
        missed.append(f"- {check.what}: {shown}, not {bound}. {check.if_missed}".rstrip())
    return [check.what, named, shown, bound]


def write_report(
    out: Path, table: Sequence[Sequence[str]], checked: Sequence[Sequence[str]], missed: Sequence[str],
    rates: dict[tuple[str, str], float], runs: int, head: str,
) -> None:  # fmt: skip
    """Write what has been measured so far, after `head`, which says by what and where."""
    rate = ", ".join(f"{each / 1e9:,.0f} GFLOP/s in {dtype} ({device})" for (device, dtype), each in rates.items())
    parts = [
        "# Benchmarks",
        f"{head} Products of large matrices reach {rate}.",
        f"Each row runs ours and the peer in turn, {runs} times after one run that warms up, each in a process of its "
        "own with the same inputs and number of threads. Seconds are medians; a ratio is the peer's time by ours, the "
        "median of the pairs and in brackets the least and the largest. Memory is the peak of the whole process, ours "
        "and the peer's, and the share that ours is of it. Rate is the share of the fastest rate of matrix products "
        "above that the products in the work reach.",
        markdown_table(HEADER, table) if table else "",
    ]
    if checked:
        parts += ["## What must not change", markdown_table(["what", "values", "change or value", "bound"], checked)]
    if missed:
        parts += ["## Marks that were missed", "\n".join(missed)]
    write_text(out, "\n\n".join(part for part in parts if part) + "\n")
