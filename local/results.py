#!/usr/bin/env python3
"""Put the scores of systems together (stage 10): results.json, RESULTS.md."""

import argparse
from pathlib import Path

from taste.errors import run_main
from taste.evaluation.results import collect_results
from taste.evaluation.tables import results_table, write_report


def main() -> None:
    """Parse options, collect, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp_dir", type=Path, help="directory of the systems, e.g. exp")
    parser.add_argument("--systems", nargs="+", required=True, help="names of systems in exp_dir, scored")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="parent of the sets (default: data)")
    parser.add_argument("--train_set", default="train", help="for the unigram row's frequencies (default: train)")
    parser.add_argument("--test_sets", nargs="+", required=True, help="names of the sets")
    parser.add_argument("--reference", default="text_only_continued", help="system that the others are compared with")
    parser.add_argument("--made_by", default="./run.sh", help="command to be quoted in RESULTS.md")
    options = parser.parse_args()

    train_dir, *test_dirs = (options.data_dir / name for name in (options.train_set, *options.test_sets))
    results = collect_results(
        options.exp_dir, options.systems, train_dir, test_dirs, options.made_by, options.reference
    )
    report = write_report(options.exp_dir)
    for test_set in options.test_sets:
        print(f"\n{test_set}\n{results_table(results, test_set)}")
    print(f"\nResults: {report} and {options.exp_dir / 'results.json'}")


if __name__ == "__main__":
    run_main(main)
