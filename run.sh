#!/usr/bin/env bash
# Quick start: makes the environment once, then runs egs/mini from the shipped corpus to the results.
# All options go to egs/mini/run.sh; ./run.sh --help lists them.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/egs/mini/run.sh" "$@"
