#!/usr/bin/env python3
"""Turn utt2spk (`utt spk`) into spk2utt (`spk utt utt ...`), speakers in the order in which they first occur.

Usage: utils/utt2spk_to_spk2utt.pl [<utt2spk>] > <spk2utt>
Reads standard input where no file is given.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.contents import input_path, print_lines, read_utt2spk, spk2utt_lines, utt2spk_to_spk2utt
from taste.errors import run_main
from taste.options import exit_with_usage


def main() -> None:
    """Convert the file on the command line."""
    if len(sys.argv) > 2 or sys.argv[1:] == ["--help"]:
        exit_with_usage(__doc__)
    utts, spks = read_utt2spk(input_path(sys.argv[1:]))
    print_lines(spk2utt_lines(utt2spk_to_spk2utt(utts, spks)))


if __name__ == "__main__":
    run_main(main)
