#!/usr/bin/env bash
# Take units and speaker embeddings over from a data directory of CosyVoice's recipes; --help tells more.
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python3 "$TASTE_ROOT/utils/python/cosyvoice_to_data_dir.py" "$@"
