#!/usr/bin/env python3
"""Tables of experiments that differ in their seed only: mean, standard deviation, and paired differences."""

import argparse
from pathlib import Path

from taste.errors import run_main
from taste.evaluation.seeds import seed_tables


def main() -> None:
    """Parse options, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp_dirs", nargs="+", type=Path, help="experiment directories, one a seed, e.g. exp/seed1")
    parser.add_argument("--reference", default="text_only_continued", help="system that the others are compared with")
    options = parser.parse_args()
    print(seed_tables(options.exp_dirs, options.reference))


if __name__ == "__main__":
    run_main(main)
