#!/usr/bin/env bash
# Make a data directory with another speed of speech, as Kaldi's perturb_data_dir_speed.sh; --help tells more.
exec python3 "$(dirname "$(readlink -f "$0")")/perturb_data_dir_speed.py" "$@"
