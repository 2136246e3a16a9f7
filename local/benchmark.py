#!/usr/bin/env python3
"""Time the recipe's costly parts beside what one would otherwise run, and write BENCHMARKS.md."""

import argparse
import shlex
import sys
from pathlib import Path

import torch

from taste.benchmark.report import run_benchmark
from taste.benchmark.rows import checks, cpu_rows, gpu_rows
from taste.errors import RecipeError, run_main


def main() -> None:
    """Parse options, measure, write."""
    parser = argparse.ArgumentParser(prog="utils/benchmark.sh", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each side (default: 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of each side (default: all)")
    parser.add_argument("--rows", default="", help="only those in whose name this text occurs")
    parser.add_argument("--recipe", type=Path, default=Path("egs/mini"), help="where ./run.sh has been run")
    parser.add_argument("--pretrained_dir", type=Path, default=Path("pretrained"))
    parser.add_argument("--corpus", help="folder with recordings to encode (default: sounds like speech are made)")
    parser.add_argument("--out", type=Path, default=Path("BENCHMARKS.md"))
    options = parser.parse_args()

    if options.runs < 1 or options.threads < 1:
        raise RecipeError("--runs and --threads: at least 1")
    rows = cpu_rows(options.pretrained_dir, options.corpus) + (gpu_rows() if torch.cuda.is_available() else [])
    rows = [row for row in rows if options.rows in row.work]
    bounds = [
        check for check in checks(options.recipe, options.pretrained_dir, options.corpus) if options.rows in check.what
    ]
    if not rows and not bounds:
        raise RecipeError(f"--rows '{options.rows}': no row has this in its name")
    made_by = shlex.join(["utils/benchmark.sh", *sys.argv[1:]])
    reached = run_benchmark(rows, bounds, options.out, options.runs, options.threads, made_by)
    print(options.out, "" if reached else "(some marks were missed: see there)")


if __name__ == "__main__":
    run_main(main)
