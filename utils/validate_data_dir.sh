#!/usr/bin/env bash
# Check a data directory, as Kaldi's validate_data_dir.sh; --help tells more.
exec python3 "$(dirname "$(readlink -f "$0")")/python/validate_data_dir.py" "$@"
