#!/usr/bin/env python3
"""Make a data directory with some of the utterances of another.

Usage: utils/subset_data_dir.sh [--speakers|--shortest|--first|--last|--per-spk] <srcdir> <num-utt> <destdir>
       utils/subset_data_dir.sh --spk-list <speaker-list-file> <srcdir> <destdir>
       utils/subset_data_dir.sh --utt-list <utt-list-file> <srcdir> <destdir>
 e.g.: utils/subset_data_dir.sh data/train 1000 data/train_1k

By default <num-utt> utterances are taken evenly from the whole directory.
--speakers   takes random speakers with all their utterances until there are <num-utt> (always the same speakers)
--shortest   takes the shortest utterances (by utt2num_frames, or else utt2dur)
--first      takes the first, --last the last utterances
--per-spk    takes <num-utt> utterances of each speaker, where there are so many
--spk-list, --utt-list   take the speakers, or utterances, with which the lines of a file begin
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.subset import WAYS, subset_by_list, subset_by_number
from taste.errors import run_main
from taste.options import exit_with_usage, positive_int


def main() -> None:
    """Make the subset that the command line asks for."""
    match sys.argv[1:]:
        case ["--spk-list" | "--utt-list" as option, id_list, source, dest]:
            before, after = subset_by_list(source, id_list, dest, of=option[2:5])
        case [option, source, number, dest] if option.startswith("--") and option[2:].replace("-", "_") in WAYS[1:]:
            way = option[2:].replace("-", "_")
            before, after = subset_by_number(source, positive_int("<num-utt>", number), dest, way)
        case [source, number, dest] if not source.startswith("--"):
            before, after = subset_by_number(source, positive_int("<num-utt>", number), dest)
        case _:
            exit_with_usage(__doc__)
    print(f"utils/subset_data_dir.sh: reducing #utt from {before} to {after}")


if __name__ == "__main__":
    run_main(main)
