#!/usr/bin/env bash
# Tell what differs between two data directories, experiment directories or runs; --help tells more.
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh" || exit 2 # as 1 says that something differs
exec python3 "$TASTE_ROOT/utils/python/diff_data_dir.py" "$@"
