#!/usr/bin/env python3
"""Difference in loss per unit between two systems, with its paired bootstrap interval over utterances."""

import argparse
from pathlib import Path

from taste.errors import run_main
from taste.evaluation.results import compare, load_scores
from taste.markdown import markdown_table


def main() -> None:
    """Parse options, compare on each test set, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, prog="utils/compare_systems.sh")
    parser.add_argument("a", type=Path, help="system directory, e.g. exp/taste")
    parser.add_argument("b", type=Path, help="system directory that a is compared with, e.g. exp/text_only_continued")
    parser.add_argument("--sets", nargs="*", help="test sets (default: all that both were tested on)")
    options = parser.parse_args()

    folders = [path / "eval" for path in (options.a, options.b)]
    both = set.intersection(*({path.stem for path in folder.glob("*.jsonl")} for folder in folders))
    rows = []
    for name in options.sets or sorted(both) or ["test"]:
        a, b = (load_scores(folder / f"{name}.jsonl") for folder in folders)
        found = compare(a, b)
        interval = f"{found['low']:+.4f} to {found['high']:+.4f}"
        rows.append([name, f"{found['difference']:+.4f}", interval, str(found["utts"])])
    header = ["set", f"loss of {options.a.name} minus {options.b.name}", "95 % interval", "utts"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    run_main(main)
