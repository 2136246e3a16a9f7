#!/usr/bin/env python3
"""Stage 1: data directory of one or more parts of a corpus in LibriSpeech's tree, and of speakers held out of it."""

import argparse

from taste.corpus.librispeech import prepare_data
from taste.data_dir.validate import validate_data_dir
from taste.errors import RecipeError, run_main


def main() -> None:
    """Parse the options and write the data directories."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus_root", help="folder that holds <part>/<speaker>/<chapter>/*.trans.txt and audio")
    parser.add_argument("parts", nargs="+", metavar="part", help="folder in it, e.g. train-clean-100")
    parser.add_argument("data_dir", help="data directory to write, e.g. data/train")
    parser.add_argument("--hours", type=float, help="take this many hours of speech, from all speakers in turn")
    parser.add_argument("--utts", type=int, help="take this many utterances, from all speakers in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of utterances and speakers (default: 0)")
    parser.add_argument("--dev_dir", help="hold whole speakers out as a dev set in this data directory")
    parser.add_argument("--dev_utts", type=int, default=0, help="hold out speakers with at least this many utterances")
    args = parser.parse_args()
    prepare_data(
        args.corpus_root, args.parts, args.data_dir, args.hours, args.utts, args.seed, args.dev_dir, args.dev_utts
    )
    for data_dir in filter(None, (args.data_dir, args.dev_dir)):
        if faults := validate_data_dir(data_dir, require_feats=False):
            raise RecipeError(f"{data_dir} is not in order:\n" + "\n".join(faults))


run_main(main)
