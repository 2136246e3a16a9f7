#!/usr/bin/env python3
"""Stage 2: audio of a data directory as one channel at 16 kHz, and a figure of its mel spectrograms.

Utterances whose audio cannot be used are taken out of all its tables.
"""

import argparse

from taste.corpus.prepare_audio import prepare_audio
from taste.data_dir.fix import fix_data_dir
from taste.errors import run_main
from taste.options import true_or_false


def main() -> None:
    """Parse the options, make the audio fit, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", help="data directory; its wav.scp will name the copies where one was needed")
    parser.add_argument("wav_dir", help="folder for the copies of files that are not 16 kHz mono")
    parser.add_argument("--figure", help="write a mel-spectrogram figure of a few utterances, e.g. exp/figures/mel.png")
    parser.add_argument(
        "--allow_pipes", type=true_or_false, default=False, help="run commands ('… |') in wav.scp (default: false)"
    )
    args = parser.parse_args()
    prepare_audio(args.data_dir, args.wav_dir, args.allow_pipes)
    before, after = fix_data_dir(args.data_dir)
    print(f"{args.data_dir}: {after} of {before} utterances can be used")
    if args.figure:
        from taste.corpus.mel_figure import mel_figure  # seconds to import, for one of the sets

        mel_figure(args.data_dir, args.figure, args.allow_pipes)


run_main(main)
