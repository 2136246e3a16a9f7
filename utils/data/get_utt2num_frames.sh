#!/usr/bin/env bash
# Make utt2num_frames, the numbers of frames of utterances, as Kaldi's get_utt2num_frames.sh; --help tells more.
exec python3 "$(dirname "$(readlink -f "$0")")/get_utt2num_frames.py" "$@"
