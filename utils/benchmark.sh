#!/usr/bin/env bash
# Time the recipe's costly parts beside what one would otherwise run, and write BENCHMARKS.md; --help shows the options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck disable=SC2034  # read by path.sh
taste_requirements="$PWD/requirements-benchmark.txt"
# shellcheck source=path.sh
. ./path.sh
# Upstream's package asks for an onnxruntime that would take the place of the recipe's, so it comes by itself; into an
# environment of the caller's own nothing is installed.
if [[ "$VIRTUAL_ENV" == "$TASTE_ROOT/.venv" ]] && ! python3 -c 'import cosyvoice' 2>/dev/null; then
  python3 -m pip install --quiet --disable-pip-version-check --no-deps cosyvoice-minicpmo==0.1.0
fi
exec python3 local/benchmark.py "$@"
