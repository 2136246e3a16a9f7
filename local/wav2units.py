#!/usr/bin/env python3
"""S3 units of every utterance of a data directory; local/s3.sh runs this in parallel jobs."""

import argparse

from taste.errors import run_main
from taste.options import true_or_false
from taste.units.backend import BACKENDS, load_unit_backend, write_units


def main() -> None:
    """Parse the options and make the units."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data_dir", help="data directory; utt2s3 and units.json are written to it")
    parser.add_argument("--backend", default="kmeans", choices=BACKENDS, help="what makes the units")
    parser.add_argument("--units_dir", default="exp/units", help="codebook of local/train_kmeans.py, for kmeans")
    parser.add_argument("--pretrained_dir", default="../../pretrained", help="folder of Whisper's weights, for kmeans")
    parser.add_argument("--cosyvoice_dir", help="folder of CosyVoice-300M, for cosyvoice")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--allow_pipes", type=true_or_false, default=False, help="run commands ('… |') in wav.scp")
    args = parser.parse_args()
    backend = load_unit_backend(args.backend, args.units_dir, args.pretrained_dir, args.cosyvoice_dir, args.device)
    write_units(args.data_dir, backend, args.allow_pipes)


run_main(main)
