#!/usr/bin/env bash
# Makes the environment once, then runs the tests, a file of them on each processor. Options go to pytest:
# tests/run.sh -k launcher
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck disable=SC2034  # read by path.sh
taste_requirements="$PWD/tests/requirements.txt"
. ./path.sh
export OMP_NUM_THREADS=1
exec python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile "$@"
