#!/usr/bin/env bash
# The ablation of ../librispeech/run_ablation.sh on the small corpus that ships; --help lists its stages and options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec ../librispeech/run_ablation.sh --grid_config conf/grid.yaml "$@"
