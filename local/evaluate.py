#!/usr/bin/env python3
"""Score systems on test sets, teacher-forced and free-running (stage 10): results.json, RESULTS.md, and each
utterance's scores, sampled units and, of systems with a quantizer, TASTE tokens."""

import argparse
from pathlib import Path

import torch

from taste.errors import run_main
from taste.model.sampling import KINDS, Sampling
from taste.results import evaluate_systems
from taste.results_tables import results_table, write_report


def main() -> None:
    """Parse options, evaluate, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp_dir", type=Path, help="directory of the systems, e.g. exp")
    parser.add_argument("--systems", nargs="+", required=True, help="names of systems in exp_dir")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="parent of the sets (default: data)")
    parser.add_argument("--train_set", default="train", help="for the unigram row's frequencies (default: train)")
    parser.add_argument("--test_sets", nargs="+", required=True, help="names of the sets to test on")
    parser.add_argument("--reference", default="text_only_continued", help="system that the others are compared with")
    parser.add_argument("--made_by", default="./run.sh", help="command to be quoted in RESULTS.md")
    parser.add_argument(
        "--sampling",
        choices=KINDS,
        default="top_p",
        help="of units in free running (default: top_p; CosyVoice's ras hardly lets one occur twice in ten)",
    )
    parser.add_argument(
        "--from_tokens",
        action="store_true",
        help="read the TASTE tokens in exp_dir/<system>/tokens/<set> (local/write_tokens.py) instead of speech",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the units that systems sample (default: 1)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    options = parser.parse_args()

    device = torch.device(options.device)
    train_dir, *test_dirs = (options.data_dir / name for name in (options.train_set, *options.test_sets))
    sampling = Sampling(options.sampling)
    results = evaluate_systems(
        options.exp_dir, options.systems, train_dir, test_dirs, device, sampling, options.seed, options.from_tokens,
        options.made_by, options.reference,
    )  # fmt: skip
    report = write_report(options.exp_dir)
    for test_set in options.test_sets:
        print(f"\n{test_set}\n{results_table(results, test_set)}")
    print(f"\nResults: {report} and {options.exp_dir / 'results.json'}")


if __name__ == "__main__":
    run_main(main)
