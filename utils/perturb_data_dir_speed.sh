#!/usr/bin/env bash
# Make a data directory with another speed of speech, as Kaldi's perturb_data_dir_speed.sh; --help tells more.
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "$(readlink -f "$0")")/../path.sh"
exec python3 "$TASTE_ROOT/utils/python/perturb_data_dir_speed.py" "$@"
