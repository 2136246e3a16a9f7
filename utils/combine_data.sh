#!/usr/bin/env bash
# Combine data directories, as Kaldi's combine_data.sh; --help tells more.
exec python3 "$(dirname "$(readlink -f "$0")")/python/combine_data.py" "$@"
