#!/usr/bin/env bash
# Write a data directory's units and speaker embeddings as CosyVoice's recipes keep them; --help tells more.
exec python3 "$(dirname "$0")/data_dir_to_cosyvoice.py" "$@"
