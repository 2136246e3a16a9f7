#!/usr/bin/env python3
"""Take units and speaker embeddings over from a data directory of CosyVoice's recipes.

Usage: utils/cosyvoice_to_data_dir.sh [--cosyvoice-dir <dir>] <cosyvoice-data-dir> <data-dir> <ark-dir>
 e.g.: utils/cosyvoice_to_data_dir.sh --cosyvoice-dir ../../pretrained/CosyVoice-300M \\
         ~/CosyVoice/examples/libritts/cosyvoice/data/train-clean-100 data/train dump/train/spk_emb

Reads utt2speech_token.pt and utt2embedding.pt, and writes <data-dir>/utt2s3, units.json, spk_emb.scp, spk_emb.json and
<ark-dir>/spk_emb.ark. Where <data-dir> has utt2spk, its utterances are taken and no others.
--cosyvoice-dir   CosyVoice-300M, whose models made the files, which do not say so themselves: with it the units can be
                  used beside those that stage 5 makes with the same model
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.cosyvoice.files import read_cosyvoice_files
from taste.errors import run_main
from taste.options import exit_with_usage


def main() -> None:
    """Read the files that the command line names."""
    match sys.argv[1:]:
        case ["--cosyvoice-dir" | "--cosyvoice_dir", cosyvoice_dir, source, data_dir, ark_dir]:
            pass
        case [source, data_dir, ark_dir] if not source.startswith("--"):
            cosyvoice_dir = None
        case _:
            exit_with_usage(__doc__)
    written = read_cosyvoice_files(source, data_dir, Path(ark_dir) / "spk_emb.ark", cosyvoice_dir)
    print(f"utils/cosyvoice_to_data_dir.sh: {written} utterances written to {data_dir}")


if __name__ == "__main__":
    run_main(main)
