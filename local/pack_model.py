#!/usr/bin/env python3
"""Complete the folders of trained systems (stage 11): with the vocoder, and a model card in README.md.

Such a folder can be moved: python -m taste --help says what it can do then.

Example: local/pack_model.py exp --systems taste_rvq --vocoder_dir exp/griffinlim
"""

import argparse
from pathlib import Path

import torch

from taste.errors import run_main
from taste.model_card import write_model_card
from taste.model_folder import pack_vocoder
from taste.unit2wav.loading import VOCODERS, load_vocoder


def main() -> None:
    """Parse the options and pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp_dir", type=Path, help="directory of the systems, e.g. exp")
    parser.add_argument("--systems", nargs="*", default=[], help="names of systems in exp_dir")
    parser.add_argument("--vocoder", choices=VOCODERS, default="griffinlim", help="(default: griffinlim)")
    parser.add_argument("--vocoder_dir", type=Path, required=True, help="exp/griffinlim, or that of CosyVoice-300M")
    parser.add_argument(
        "--cosyvoice_code", type=Path, help="checkout of FunAudioLLM/CosyVoice, in place of the package"
    )
    options = parser.parse_args()
    vocoder = load_vocoder(options.vocoder, options.vocoder_dir, torch.device("cpu"), options.cosyvoice_code)
    for system in options.systems:
        pack_vocoder(options.exp_dir / system, vocoder, options.vocoder_dir)
        print(f"{options.exp_dir / system} is complete: {write_model_card(options.exp_dir / system)} describes it")


if __name__ == "__main__":
    run_main(main)
