#!/usr/bin/env python3
"""Write a data directory's units and speaker embeddings as CosyVoice's recipes keep them.

Usage: utils/data_dir_to_cosyvoice.sh <data-dir> [<cosyvoice-data-dir>]
 e.g.: utils/data_dir_to_cosyvoice.sh data/train

Reads utt2s3, spk_emb.scp and utt2spk, and writes utt2speech_token.pt, utt2embedding.pt and spk2embedding.pt as
CosyVoice's tools/extract_speech_token.py and tools/extract_embedding.py do, into the same directory by default.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.cosyvoice.files import write_cosyvoice_files
from taste.errors import run_main
from taste.options import exit_with_usage


def main() -> None:
    """Write the files that the command line asks for."""
    match sys.argv[1:]:
        case [data_dir] | [data_dir, _] if not data_dir.startswith("--"):
            target = sys.argv[-1]
        case _:
            exit_with_usage(__doc__)
    written = write_cosyvoice_files(data_dir, target)
    print(f"utils/data_dir_to_cosyvoice.sh: {written} utterances written to {target}")


if __name__ == "__main__":
    run_main(main)
