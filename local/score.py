#!/usr/bin/env python3
"""Stage 12: score the waveforms of the recordings, the topline and the systems: scores.json, each utterance's scores in
<row>/scores/<set>.jsonl, and their tables in RESULTS.md."""

import argparse
from pathlib import Path

from taste.errors import run_main
from taste.evaluation.tables import write_report
from taste.options import positive_int
from taste.precision import check_device
from taste.scores.scoring import Settings, score_systems
from taste.scores.table import score_table


def main() -> None:
    """Parse options, score, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp_dir", type=Path, help="directory of the systems, e.g. exp")
    parser.add_argument("--systems", nargs="*", default=[], help="names of systems in exp_dir, beside the topline")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="parent of the sets (default: data)")
    parser.add_argument("--test_sets", nargs="+", required=True, help="names of the sets")
    parser.add_argument("--asr_model", default="base", help="the Whisper model that listens (default: base)")
    parser.add_argument("--utts", default="", help="score so many utterances of each set, evenly over speakers")
    parser.add_argument("--pretrained_dir", type=Path, default=Path("../../pretrained"), help="(default: %(default)s)")
    parser.add_argument("--cosyvoice_dir", type=Path, help="CosyVoice-300M, whose CAM++ compares voices where it may")
    parser.add_argument("--made_by", default="./run.sh", help="command to be quoted in RESULTS.md")
    parser.add_argument("--seed", type=int, default=1, help="of the drawing of utterances and the bootstrap")
    parser.add_argument("--device", default="cpu", help="of Whisper: cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--jobs", type=int, default=1, help="processes that listen, with --device cpu (default: 1)")
    options = parser.parse_args()

    utts = positive_int("--utts", options.utts) if options.utts else None
    device = check_device(options.device)
    data_dirs = [options.data_dir / name for name in options.test_sets]
    scores = score_systems(
        options.exp_dir, options.systems, data_dirs, options.pretrained_dir, options.cosyvoice_dir,
        Settings(options.asr_model, utts, options.seed), options.made_by, device,
        options.jobs if device.type == "cpu" else 1,
    )  # fmt: skip
    for test_set in options.test_sets:
        print(f"\n{test_set}\n{score_table(scores, test_set)}")
    if (options.exp_dir / "results.json").exists():
        print(f"\nScores: {write_report(options.exp_dir)} and {options.exp_dir / 'scores.json'}")


if __name__ == "__main__":
    run_main(main)
