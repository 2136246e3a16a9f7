#!/usr/bin/env python3
"""Make utt2num_frames, the numbers of frames of utterances.

Usage: utils/data/get_utt2num_frames.sh [options] <datadir>
 e.g.: utils/data/get_utt2num_frames.sh data/train

They are those of feats.scp, or without it those that the durations make (utt2dur, which is made where necessary). A
utt2num_frames that is there is left as it is.
--frame-shift    seconds from one frame to the next (default: 0.01)
--frame-overlap  seconds by which a frame is longer than that (default: 0.015)
--nj             how many files are read at the same time (default: 4)
--cmd            taken as in Kaldi, not used: the reading is done here
--allow-pipes    whether commands in wav.scp may be run, whose output is then read to its end (default: false)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.lengths import make_utt2num_frames
from taste.errors import run_main
from taste.options import exit_with_usage, kaldi_options, positive_float, positive_int

OPTIONS = {"frame_shift": "0.01", "frame_overlap": "0.015", "allow_pipes": "false", "nj": "4", "cmd": "run.pl"}


def main() -> None:
    """Make utt2num_frames of the directory on the command line."""
    options, rest = kaldi_options(sys.argv[1:], OPTIONS)
    if len(rest) != 1:
        exit_with_usage(__doc__)
    written = make_utt2num_frames(
        rest[0],
        positive_float("--frame-shift", options["frame_shift"]),
        positive_float("--frame-overlap", options["frame_overlap"]),
        options["allow_pipes"] == "true",
        positive_int("--nj", options["nj"]),
    )
    frames = Path(rest[0], "utt2num_frames")
    print(f"utils/data/get_utt2num_frames.sh: {f'computed {frames}' if written else f'{frames} already present'}")


if __name__ == "__main__":
    run_main(main)
