#!/usr/bin/env bash
# Write a data directory's units and speaker embeddings as CosyVoice's recipes keep them; --help tells more.
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python3 "$TASTE_ROOT/utils/python/data_dir_to_cosyvoice.py" "$@"
