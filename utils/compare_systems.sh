#!/usr/bin/env bash
# Paired bootstrap interval of the difference in loss between two systems; --help shows the options.
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/../local/compare_systems.py" "$@"
