#!/usr/bin/env bash
# Put a data directory in order, as Kaldi's fix_data_dir.sh; --help tells more.
exec python3 "$(dirname "$(readlink -f "$0")")/python/fix_data_dir.py" "$@"
