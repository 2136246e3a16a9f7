#!/usr/bin/env bash
# Paired bootstrap interval of the difference in loss between two systems; --help shows the options.
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python3 "$TASTE_ROOT/local/compare_systems.py" "$@"
