#!/usr/bin/env python3
"""Combine data directories.

Usage: utils/combine_data.sh [--extra-files 'file1 file2'] [--skip-fix true] <dest-data-dir> <src-data-dir1> ...
 e.g.: utils/combine_data.sh data/train data/train_clean_100 data/train_clean_360

Tables that are not in all directories are left out, but for utt2words, and utt2uniq and segments, which are made where
necessary. Directories whose units, text tokens, features or speaker embeddings were made differently are refused, as
are those with different lines for the same utterance.
--extra-files   further tables to combine
--skip-fix      whether utils/fix_data_dir.sh is left out, which follows where tables lack utterances (default: false)

What else <dest-data-dir> held goes to its .backup.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.combine import combine_data
from taste.errors import run_main
from taste.options import exit_with_usage, kaldi_options

OPTIONS = {"extra_files": "", "skip_fix": "false"}


def main() -> None:
    """Combine the directories on the command line."""
    options, rest = kaldi_options(sys.argv[1:], OPTIONS)
    if len(rest) < 2:
        exit_with_usage(__doc__)
    dest, *sources = rest
    combine_data(dest, sources, options["extra_files"].split(), skip_fix=options["skip_fix"] == "true")
    print(f"utils/combine_data.sh: combined {len(sources)} directories in {dest}")


if __name__ == "__main__":
    run_main(main)
