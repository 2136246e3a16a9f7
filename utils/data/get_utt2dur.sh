#!/usr/bin/env bash
# Make utt2dur, the durations of utterances in seconds, as Kaldi's get_utt2dur.sh; --help tells more.
exec python3 "$(dirname "$(readlink -f "$0")")/get_utt2dur.py" "$@"
