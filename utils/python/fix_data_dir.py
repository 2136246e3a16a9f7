#!/usr/bin/env python3
"""Put a data directory in order.

Usage: utils/fix_data_dir.sh <data-dir>
 e.g.: utils/fix_data_dir.sh data/train

Sorts the files, removes repeated, empty and malformed lines, carriage returns and tabs, keeps in every file the
utterances only that all files have, and makes spk2utt from utt2spk. The originals of the files that change are kept in
<data-dir>/.backup.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.fix import fix_data_dir
from taste.errors import run_main
from taste.options import exit_with_usage


def main() -> None:
    """Fix the directory on the command line."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("--"):
        exit_with_usage(__doc__)
    before, after = fix_data_dir(sys.argv[1])
    if after == before:
        print(f"fix_data_dir.sh: kept all {before} utterances.")
    else:
        print(f"fix_data_dir.sh: kept {after} utterances out of {before}")
    if (backup := Path(sys.argv[1]) / ".backup").is_dir():
        print(f"fix_data_dir.sh: old files are kept in {backup}")


if __name__ == "__main__":
    run_main(main)
