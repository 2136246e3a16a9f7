#!/usr/bin/env python3
"""Write the report (stage 13): exp_dir/report/index.html, one file with tables, pictures and sounds in it."""

import argparse
from pathlib import Path

from taste.errors import run_main
from taste.options import positive_int, true_or_false
from taste.report.page import write_page


def main() -> None:
    """Parse options, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp_dir", type=Path, help="directory of the systems and their results, e.g. exp")
    parser.add_argument("--systems", nargs="+", required=True, help="names of systems that stage 10 has evaluated")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="parent of the sets (default: data)")
    parser.add_argument("--test_sets", nargs="+", required=True, help="names of the test sets")
    parser.add_argument("--reference", default="text_only_continued", help="system that losses are compared with")
    parser.add_argument("--utts", default="8", help="utterances of each test set that can be heard (default: 8)")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of these (default: 1)")
    parser.add_argument("--made_by", default="./run.sh", help="command to be quoted")
    parser.add_argument(
        "--allow_pipes", type=true_or_false, default=False, help="run commands ('… |') in wav.scp (default: false)"
    )
    options = parser.parse_args()

    utts = positive_int("--utts", options.utts)
    path = write_page(
        options.exp_dir, options.data_dir, options.systems, options.test_sets, options.reference, utts, options.seed,
        options.made_by, options.allow_pipes,
    )  # fmt: skip
    print(f"Report: {path} ({path.stat().st_size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    run_main(main)
