#!/usr/bin/env python3
"""Make a data directory with another speed of speech.

Usage: utils/perturb_data_dir_speed.sh [--include-spk-prefix true|false] <warping-factor> <srcdir> <destdir>
 e.g.: utils/perturb_data_dir_speed.sh 0.9 data/train data/train_sp0.9

wav.scp gets commands that change the speed with sox; segments, utt2dur, reco2dur and utt2words follow; text tokens
stay. Units, features, speaker embeddings and what else is made from the audio are left out and named: run the stages
that make them. Ids get the prefix sp0.9-, and utt2uniq tells the old ones.
--include-spk-prefix   false: speakers keep their ids, those of utterances get the suffix -sp0.9 (default: true)

<srcdir> gets utt2dur where it has none; where wav.scp holds commands,
utils/data/get_utt2dur.sh --allow-pipes true makes it first.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.speed import perturb_data_dir_speed
from taste.data_dir.validate import exit_if_invalid
from taste.errors import run_main
from taste.options import exit_with_usage, kaldi_options

OPTIONS = {"include_spk_prefix": "true"}


def main() -> None:
    """Make the directory on the command line."""
    options, rest = kaldi_options(sys.argv[1:], OPTIONS)
    if len(rest) != 3:
        exit_with_usage(__doc__)
    factor, source, dest = rest
    perturb_data_dir_speed(factor, source, dest, options["include_spk_prefix"] == "true")
    print(f"utils/perturb_data_dir_speed.sh: generated speed-perturbed version of data in {source}, in {dest}")
    exit_if_invalid(dest, ["--no-feats", "--no-text"], "utils/perturb_data_dir_speed.sh")


if __name__ == "__main__":
    run_main(main)
