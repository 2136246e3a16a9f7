#!/usr/bin/env python3
"""Write a text-only system in the layout of CosyVoice's llm.pt, which upstream's own code loads."""

import argparse
from pathlib import Path

import torch

from taste.checkpoint import AVERAGE, BEST, LAST, load_system, save_llm
from taste.errors import run_main


def main() -> None:
    """Parse the options, export."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="e.g.: local/export_llm.py exp/text_only llm.pt")
    parser.add_argument("system_dir", type=Path, help="a trained system without aggregator")
    parser.add_argument("llm", type=Path, help="the file to write")
    parser.add_argument("--weights", default=BEST, choices=(BEST, LAST, AVERAGE), help="(default: %(default)s)")
    options = parser.parse_args()
    _, model = load_system(options.system_dir, torch.device("cpu"), options.weights)
    save_llm(options.llm, model)


if __name__ == "__main__":
    run_main(main)
