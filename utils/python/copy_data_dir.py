#!/usr/bin/env python3
"""Copy a data directory, perhaps with a prefix or suffix to the ids.

Usage: utils/copy_data_dir.sh [options] <srcdir> <destdir>
 e.g.: utils/copy_data_dir.sh --spk-prefix 1- --utt-prefix 1- data/train data/train_1

--spk-prefix, --spk-suffix   come before and behind the ids of speakers (default: nothing)
--utt-prefix, --utt-suffix   the same for those of utterances; utt2uniq then tells the old ones
--validate-opts              options of utils/validate_data_dir.sh, which checks the copy

Recordings keep their ids where there are segments. Tables that <destdir> held besides go to <destdir>/.backup.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also without path.sh, as Kaldi's tools

from taste.data_dir.copy import Renaming, copy_data_dir
from taste.data_dir.validate import exit_if_invalid
from taste.errors import run_main
from taste.options import exit_with_usage, kaldi_options

OPTIONS = dict.fromkeys(("spk_prefix", "spk_suffix", "utt_prefix", "utt_suffix", "validate_opts"), "")


def main() -> None:
    """Copy the directory on the command line."""
    options, rest = kaldi_options(sys.argv[1:], OPTIONS)
    if len(rest) != 2:
        exit_with_usage(__doc__)
    source, dest = rest
    utt, spk = (
        Renaming(options[f"{kind}_prefix"].encode(), options[f"{kind}_suffix"].encode()) for kind in ("utt", "spk")
    )
    copy_data_dir(source, dest, utt, spk)
    print(f"utils/copy_data_dir.sh: copied data from {source} to {dest}")
    lacking = [
        f"--no-{name.removesuffix('.scp')}" for name in ("feats.scp", "text") if not Path(source, name).is_file()
    ]
    exit_if_invalid(dest, options["validate_opts"].split() + lacking, "utils/copy_data_dir.sh")


if __name__ == "__main__":
    run_main(main)
