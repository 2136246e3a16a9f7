#!/usr/bin/env python3
"""Turn spk2utt (`spk utt utt ...`) into utt2spk (`utt spk`), in the order of the input.

Usage: utils/spk2utt_to_utt2spk.pl [<spk2utt>] > <utt2spk>
Reads standard input where no file is given.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.contents import input_path, print_lines, read_spk2utt, utt2spk_lines
from taste.errors import run_main
from taste.options import exit_with_usage


def main() -> None:
    """Convert the file on the command line."""
    if len(sys.argv) > 2 or sys.argv[1:] == ["--help"]:
        exit_with_usage(__doc__)
    print_lines(utt2spk_lines(read_spk2utt(input_path(sys.argv[1:]))))


if __name__ == "__main__":
    run_main(main)
