#!/usr/bin/env bash
# Makes the environment once, then runs the tests. Options go to pytest: tests/run.sh -k launcher
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck disable=SC2034  # read by path.sh
taste_requirements="$PWD/tests/requirements.txt"
. ./path.sh
exec python -m pytest "$@"
