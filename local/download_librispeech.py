#!/usr/bin/env python3
"""Stage 0: bring parts of LibriSpeech under a corpus folder; those that are there already are left as they are."""

import argparse

from taste.corpus.openslr import MD5, URL, download_parts
from taste.errors import run_main
from taste.options import true_or_false


def main() -> None:
    """Parse the options and download."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("corpus_root", help="folder that holds, or will hold, <part>/<speaker>/<chapter>/")
    parser.add_argument("parts", nargs="+", metavar="part", help=f"parts of the corpus: {', '.join(MD5)}")
    parser.add_argument("--url", default=URL, help="folder of OpenSLR 12 or of a mirror that holds <part>.tar.gz")
    parser.add_argument(
        "--remove_archive", type=true_or_false, default=False, help="remove <part>.tar.gz once it is unpacked"
    )
    args = parser.parse_args()
    download_parts(args.corpus_root, args.parts, args.url, args.remove_archive)


run_main(main)
