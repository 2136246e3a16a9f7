#!/usr/bin/env bash
# Take units and speaker embeddings over from a data directory of CosyVoice's recipes; --help tells more.
exec python3 "$(dirname "$0")/cosyvoice_to_data_dir.py" "$@"
