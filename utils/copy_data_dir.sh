#!/usr/bin/env bash
# Copy a data directory, perhaps with a prefix or suffix to the ids, as Kaldi's copy_data_dir.sh; --help tells more.
exec python3 "$(dirname "$(readlink -f "$0")")/python/copy_data_dir.py" "$@"
