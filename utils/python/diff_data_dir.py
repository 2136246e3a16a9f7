#!/usr/bin/env python3
"""Tell what differs between two data directories, experiment directories or runs.

A and B are two data directories (data/train), two folders of such (data), two experiment directories (exp, exp/taste),
or two directories of a recipe with data and exp.

Of data directories: utterances and files that one of them lacks, and values that differ. What a value stands for
counts, not how it is written: of wav.scp the samples (the same in another file or container are the same), of other
.scp files the arrays, by shape and by the norm of the difference relative to the larger norm; of utt2s3, utt2token and
text the edit distance; of utt2dur, segments and utt2words the numbers. A path that is the same in both is not opened.
Of data.jsonl the path of the audio does not count, as wav.scp tells. The tables have to be sorted.

Of experiment directories: config.yaml, results.json and train.json of every system; of the last not the time, the
machine, the memory and the command line.

Exit status as diff's: 0 nothing differs, 1 something does, 2 something could not be compared (it is named).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.contents import print_lines
from taste.diff.data_dir import DiffOptions
from taste.diff.report import TROUBLE, DiffReport
from taste.errors import run_main
from taste.options import true_or_false


def main() -> None:
    """Compare the directories on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, prog="utils/diff_data_dir.sh", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--json", action="store_true", help="print a report for programs")
    parser.add_argument("--show", type=int, default=5, help="how many of a sort are named (default: %(default)s)")
    parser.add_argument(
        "--tolerance", type=float, default=0.0,
        help="relative distance up to which arrays and audio are the same, e.g. 1e-3 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--allow_pipes", type=true_or_false, default=False, metavar="true|false",
        help="whether commands of wav.scp that differ may be run, through the shell as Kaldi runs them",
    )  # fmt: skip
    options = parser.parse_args()
    report = DiffReport(options.a, options.b, DiffOptions(options.tolerance, options.allow_pipes, options.show))
    lines = [report.json()] if options.json else report.text()
    print_lines(line.encode(errors="backslashreplace") for line in lines)
    sys.stdout.flush()
    sys.exit(report.status)


if __name__ == "__main__":
    run_main(main, failure=TROUBLE)
