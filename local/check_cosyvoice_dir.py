#!/usr/bin/env python3
"""Say whether a directory holds the files of CosyVoice-300M: exit status 0, or 1 and what is missing."""

import argparse

from taste.cosyvoice.assets import check_cosyvoice_dir
from taste.errors import run_main


def main() -> None:
    """Check the directory named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cosyvoice_dir", help="directory of CosyVoice-300M")
    check_cosyvoice_dir(parser.parse_args().cosyvoice_dir)


run_main(main)
