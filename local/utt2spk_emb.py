#!/usr/bin/env python3
"""Speaker embedding of every utterance of a data directory; local/spk_emb.sh runs this in parallel jobs."""

import argparse

from taste.errors import run_main
from taste.options import true_or_false
from taste.speaker.encoders import BACKENDS, embed_data_dir, load_speaker_encoder


def main() -> None:
    """Parse the options and embed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data_dir", help="data directory; spk_emb.scp and spk_emb.json are written to it")
    parser.add_argument("ark", help="archive to write, e.g. dump/train/spk_emb/spk_emb.1.ark")
    parser.add_argument("--backend", default="resemblyzer", choices=BACKENDS, help="speaker encoder")
    parser.add_argument("--pretrained_dir", default="../../pretrained", help="folder of the pretrained weights")
    parser.add_argument("--cosyvoice_dir", help="folder of CosyVoice-300M, with campplus.onnx, for campplus")
    parser.add_argument("--allow_pipes", type=true_or_false, default=False, help="run commands ('… |') in wav.scp")
    args = parser.parse_args()
    encoder = load_speaker_encoder(args.backend, args.pretrained_dir, args.cosyvoice_dir)
    embed_data_dir(args.data_dir, args.ark, encoder, args.allow_pipes)


run_main(main)
