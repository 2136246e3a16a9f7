#!/usr/bin/env python3
"""Write the TASTE tokens of a data directory as a Kaldi file: utt2taste, and taste.json, which says whose they are.

Example: local/write_tokens.py data/test exp/taste_rvq exp/taste_rvq/tokens/test
"""

import argparse
from pathlib import Path

import torch

from taste.checkpoint import load_system
from taste.dataset import UnitDataset
from taste.errors import run_main
from taste.files import read_json
from taste.taste_tokens import TABLE, token_figures, tokenize, write_tokens
from taste.whisper.layers import require_same_encoder


def main() -> None:
    """Parse options, tokenize, write, say what the tokens cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path, help="data directory after stage 6")
    parser.add_argument("system_dir", type=Path, help="a system with a quantizer, e.g. exp/taste_rvq")
    parser.add_argument("folder", type=Path, help="where utt2taste goes")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    options = parser.parse_args()

    device = torch.device(options.device)
    config, model = load_system(options.system_dir, device)
    trained = read_json(options.system_dir / "train.json", "training")["encoder"]
    require_same_encoder(trained or {}, options.system_dir, options.data_dir)
    dataset = UnitDataset(options.data_dir, config.model)
    tokens = tokenize(model, dataset, config.train.batch_units, device, what=f"tokens of {options.data_dir}")
    sizes = model.speech.quantizer.sizes
    write_tokens(options.folder, tokens, options.system_dir, sizes)
    figures = token_figures(tokens, sizes, options.data_dir / "utt2dur")
    print(
        f"{options.folder / TABLE}: {len(tokens)} utterances, {figures.tokens_per_second:.2f} tokens a second, "
        f"{figures.bits_per_second:.1f} bit/s, entropy {figures.entropy_per_second:.1f} bit/s"
    )


if __name__ == "__main__":
    run_main(main)
