#!/usr/bin/env bash
# Split a data directory into parts, one a job, as Kaldi's split_data.sh; --help tells more.
exec python3 "$(dirname "$(readlink -f "$0")")/python/split_data.py" "$@"
