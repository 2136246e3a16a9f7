#!/usr/bin/env python3
"""Score a system on test sets, teacher-forced and free-running (stage 10): each utterance's scores, sampled units and,
of systems with a quantizer, TASTE tokens; local/results.py then makes tables of several systems."""

import argparse
from pathlib import Path

import torch

from taste.errors import run_main
from taste.evaluation.results import evaluate_system
from taste.model.sampling import KINDS, Sampling


def main() -> None:
    """Parse options, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system_dir", type=Path, help="the system, e.g. exp/taste")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="parent of the sets (default: data)")
    parser.add_argument("--train_set", default="train", help="to find words in sampled units (default: train)")
    parser.add_argument("--test_sets", nargs="+", required=True, help="names of the sets to test on")
    parser.add_argument(
        "--sampling",
        choices=KINDS,
        default="top_p",
        help="of units in free running (default: top_p; CosyVoice's ras hardly lets one occur twice in ten)",
    )
    parser.add_argument(
        "--from_tokens",
        action="store_true",
        help="read the TASTE tokens in <system>/tokens/<set> (local/write_tokens.py) instead of speech",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the units that systems sample (default: 1)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    options = parser.parse_args()

    train_dir, *test_dirs = (options.data_dir / name for name in (options.train_set, *options.test_sets))
    device, sampling = torch.device(options.device), Sampling(options.sampling)
    result = evaluate_system(
        options.system_dir, train_dir, test_dirs, device, sampling, options.seed, options.from_tokens
    )
    losses = ", ".join(f"{name} {figures['loss']:.4f}" for name, figures in result["sets"].items())
    print(f"{options.system_dir}: loss {losses}")


if __name__ == "__main__":
    run_main(main)
