#!/usr/bin/env bash
# Make a data directory with some of the utterances of another, as Kaldi's subset_data_dir.sh; --help tells more.
exec python3 "$(dirname "$(readlink -f "$0")")/python/subset_data_dir.py" "$@"
