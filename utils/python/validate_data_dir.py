#!/usr/bin/env python3
"""Check a data directory.

Usage: utils/validate_data_dir.sh [--no-feats] [--no-text] [--non-print] [--no-wav] [--no-spk-sort] <data-dir>
 e.g.: utils/validate_data_dir.sh --no-feats data/train

--no-feats, --no-text, --no-wav: feats.scp, text, wav.scp need not be there (they are checked if they are).
--no-spk-sort: utt2spk need not be sorted by speaker as well as by utterance.
--non-print: non-printable characters in text are allowed.

Exit status 0 if the directory is valid; else 1, with each fault on a line: file, line, what is wrong, what to do.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.validate import OPTIONS, exit_if_invalid
from taste.errors import run_main
from taste.options import exit_with_usage


def main() -> None:
    """Check the directory on the command line."""
    given = [argument for argument in sys.argv[1:] if argument in OPTIONS]
    rest = [argument for argument in sys.argv[1:] if argument not in OPTIONS]
    if len(rest) != 1 or rest[0].startswith("--"):
        exit_with_usage(__doc__)
    exit_if_invalid(rest[0], given, "utils/validate_data_dir.sh")


if __name__ == "__main__":
    run_main(main)
