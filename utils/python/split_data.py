#!/usr/bin/env python3
"""Split a data directory into parts, one a job.

Usage: utils/split_data.sh [--per-utt] <data-dir> <num-to-split>
 e.g.: utils/split_data.sh data/train 50

Writes data/train/split50/1 to data/train/split50/50; a speaker is in one part only. With --per-utt speakers do not
matter, and the directory is data/train/split50utt. A split that is newer than the data directory is left as it is.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.split import split_data
from taste.errors import run_main
from taste.options import exit_with_usage, positive_int


def main() -> None:
    """Split the directory on the command line."""
    arguments = sys.argv[1:]
    per_utt = arguments[:1] == ["--per-utt"]
    if len(arguments) != 2 + per_utt:
        exit_with_usage(__doc__)
    data_dir, parts = arguments[per_utt:]
    split_data(data_dir, positive_int("<num-to-split>", parts), per_utt)


if __name__ == "__main__":
    run_main(main)
