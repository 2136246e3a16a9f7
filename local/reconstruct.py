#!/usr/bin/env python3
"""Stage 11: waveforms of the recordings' own units (topline) or of the units that a system sampled in stage 10."""

import argparse
from pathlib import Path

import torch

from taste.errors import run_main
from taste.reconstruction import reconstruct
from taste.unit2wav.loading import VOCODERS, load_vocoder


def main() -> None:
    """Parse the options and reconstruct."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row_dir", type=Path, help="exp/topline, or that of a system")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="parent of the sets (default: data)")
    parser.add_argument("--test_sets", nargs="+", required=True, help="names of the sets")
    parser.add_argument("--vocoder", choices=VOCODERS, default="griffinlim", help="(default: griffinlim)")
    parser.add_argument("--vocoder_dir", type=Path, required=True, help="exp/griffinlim, or that of CosyVoice-300M")
    parser.add_argument(
        "--cosyvoice_code", type=Path, help="checkout of FunAudioLLM/CosyVoice, in place of the package"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    options = parser.parse_args()
    vocoder = load_vocoder(options.vocoder, options.vocoder_dir, torch.device(options.device), options.cosyvoice_code)
    data_dirs = [options.data_dir / name for name in options.test_sets]
    reconstruct(options.row_dir, data_dirs, vocoder)


if __name__ == "__main__":
    run_main(main)
