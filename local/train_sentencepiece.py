#!/usr/bin/env python3
"""Stage 4, with --token_type sentencepiece: train a sentencepiece model on the transcripts of a data directory."""

import argparse

from taste.errors import run_main
from taste.text.tokens import train_sentencepiece


def main() -> None:
    """Parse the options and train the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", help="data directory whose text is read, e.g. data/train")
    parser.add_argument("model", help="file to write, e.g. exp/sentencepiece.model")
    parser.add_argument("--vocab_size", type=int, default=500, help="number of pieces (default: 500)")
    args = parser.parse_args()
    train_sentencepiece(args.data_dir, args.model, args.vocab_size)


run_main(main)
