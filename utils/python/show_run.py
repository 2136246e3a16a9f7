#!/usr/bin/env python3
"""Print what a recipe ran, a line a step: when, for how long, where, at which commit, with which command.

The whole of it (package versions, inputs and outputs with their SHA-256) is in EXP/run.jsonl, a line of JSON each.
"""

import argparse
from pathlib import Path

from taste.errors import run_main
from taste.markdown import markdown_table
from taste.run_records import run_table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="utils/show_run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exp", type=Path, nargs="?", default=Path("exp"), metavar="EXP", help="(default: exp)")
    header, *rows = run_table(parser.parse_args().exp)
    print(markdown_table(header, rows))


if __name__ == "__main__":
    run_main(main)
