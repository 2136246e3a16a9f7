#!/usr/bin/env python3
"""Stage 11: replace TASTE tokens of words by those of the same words in other utterances, and measure what changes."""

import argparse
from pathlib import Path

import torch

from taste.editing.speech import edit_set
from taste.editing.table import edit_sections
from taste.errors import run_main
from taste.model.sampling import Sampling
from taste.unit2wav.loading import VOCODERS, load_vocoder


def main() -> None:
    """Parse the options, edit, print what changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp_dir", type=Path, help="directory of the system; edits/ goes there")
    parser.add_argument("train_dir", type=Path, help="training data, whose word times tell where words are in units")
    parser.add_argument("data_dir", type=Path, help="the set that is edited, e.g. data/test")
    parser.add_argument("--system", default="taste_rvq", help="one with a quantizer (default: taste_rvq)")
    parser.add_argument("--vocoder", choices=VOCODERS, default="griffinlim", help="(default: griffinlim)")
    parser.add_argument("--vocoder_dir", type=Path, required=True, help="exp/griffinlim, or that of CosyVoice-300M")
    parser.add_argument(
        "--cosyvoice_code", type=Path, help="checkout of FunAudioLLM/CosyVoice, in place of the package"
    )
    parser.add_argument("--heard", type=int, default=30, help="utterances that become waveforms (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of edits and the sampling (default: 1)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    options = parser.parse_args()
    device = torch.device(options.device)
    vocoder = load_vocoder(options.vocoder, options.vocoder_dir, device, options.cosyvoice_code)
    edits = edit_set(
        options.exp_dir, options.system, options.train_dir, options.data_dir, vocoder, Sampling("top_p"), options.seed,
        options.heard, device,
    )  # fmt: skip
    if edits:
        print("\n\n".join(edit_sections(edits)))


if __name__ == "__main__":
    run_main(main)
