#!/usr/bin/env python3
"""Stage 11: train the network of the vocoder griffinlim on the training set's own units."""

import argparse
from pathlib import Path

import torch

from taste.errors import run_main
from taste.options import true_or_false
from taste.unit2wav.unit_to_mel_training import train_unit_to_mel


def main() -> None:
    """Parse the options and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train_dir", type=Path, help="training data")
    parser.add_argument("dev_dir", type=Path, help="data whose loss decides which weights are kept")
    parser.add_argument("out_dir", type=Path, help="folder for the network, e.g. exp/griffinlim")
    parser.add_argument("--config", type=Path, default=Path("conf/griffinlim.yaml"), help="sizes and training settings")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--allow_pipes", type=true_or_false, default=False, help="run commands ('… |') in wav.scp")
    parser.add_argument("--jobs", type=int, default=1, help="processes that read the speech (default: 1)")
    options = parser.parse_args()
    train_unit_to_mel(
        options.train_dir,
        options.dev_dir,
        options.out_dir,
        options.config,
        torch.device(options.device),
        options.allow_pipes,
        options.jobs,
    )


if __name__ == "__main__":
    run_main(main)
