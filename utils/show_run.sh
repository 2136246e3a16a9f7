#!/usr/bin/env bash
# Print what a recipe ran, from the run.jsonl of its exp; --help tells more.
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python3 "$TASTE_ROOT/utils/python/show_run.py" "$@"
