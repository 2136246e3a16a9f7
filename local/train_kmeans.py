#!/usr/bin/env python3
"""Stage 5: fit the codebook of k-means units on training data; local/s3.sh applies it."""

import argparse

from taste.errors import run_main
from taste.options import true_or_false
from taste.units.kmeans import train_kmeans


def main() -> None:
    """Parse the options and fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data_dir", help="training data, and nothing else: the units must not have seen the test sets")
    parser.add_argument("units_dir", help="folder for codebook.safetensors and units.json, e.g. exp/units")
    parser.add_argument("--model", default="tiny.en", help="Whisper model whose encoder gives the frames")
    parser.add_argument("--layer", default="3", help="encoder layer: 0 to N, or last")
    parser.add_argument("--K", type=int, default=200, help="number of units")
    parser.add_argument("--rate", type=int, default=25, help="units a second: 50 or a divisor of it")
    parser.add_argument("--frames", type=int, default=200_000, help="frames to fit on, from a sample of the utterances")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and of k-means")
    parser.add_argument("--pretrained_dir", default="../../pretrained", help="folder of the pretrained weights")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--allow_pipes", type=true_or_false, default=False, help="run commands ('… |') in wav.scp")
    train_kmeans(**vars(parser.parse_args()))


run_main(main)
