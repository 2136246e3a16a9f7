#!/usr/bin/env python3
"""Make utt2dur, the durations of utterances in seconds.

Usage: utils/data/get_utt2dur.sh [options] <datadir>
 e.g.: utils/data/get_utt2dur.sh data/train

They come from segments; or else from frame_shift and utt2num_frames, the headers of the files in wav.scp, or feats.scp.
A utt2dur that is there for all utterances is left as it is.
--frame-shift    of feats.scp, in seconds, where there is no file frame_shift (default: 0.01)
--read-entire-file   count the samples of files rather than believe their headers (default: false)
--nj             how many files are read at the same time (default: 4)
--cmd            taken as in Kaldi, not used: the reading is done here
--allow-pipes    whether commands in wav.scp may be run, whose output is then read to its end (default: false)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.lengths import make_utt2dur
from taste.errors import run_main
from taste.options import exit_with_usage, kaldi_options, positive_float, positive_int

OPTIONS = {"frame_shift": "0.01", "read_entire_file": "false", "allow_pipes": "false", "nj": "4", "cmd": "run.pl"}


def main() -> None:
    """Make utt2dur of the directory on the command line."""
    options, rest = kaldi_options(sys.argv[1:], OPTIONS)
    if len(rest) != 1:
        exit_with_usage(__doc__)
    written = make_utt2dur(
        rest[0],
        positive_float("--frame-shift", options["frame_shift"]),
        options["read_entire_file"] == "true",
        options["allow_pipes"] == "true",
        positive_int("--nj", options["nj"]),
    )
    utt2dur = Path(rest[0], "utt2dur")
    done = f"computed {utt2dur}" if written else f"{utt2dur} already exists with the expected length"
    print(f"utils/data/get_utt2dur.sh: {done}")


if __name__ == "__main__":
    run_main(main)
