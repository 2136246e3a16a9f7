#!/usr/bin/env python3
"""Train one system (stages 7 to 9): text only, or with an aggregator on top of a text-only system.

A training that was stopped goes on when the same command is given again. Under torchrun it runs in several processes.
"""

import argparse
import os
from pathlib import Path

from taste.config import load_config
from taste.dataset import UnitDataset
from taste.errors import run_main
from taste.model_folder import keep_sentencepiece
from taste.training.loop import train
from taste.units.record import require_same_units
from taste.whisper.layers import name_layers


def main() -> None:
    """Parse options, train, say where the weights are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train_dir", type=Path, help="data directory to train on")
    parser.add_argument("dev_dir", type=Path, help="data directory whose loss chooses the checkpoint")
    parser.add_argument("system_dir", type=Path, help="where the system goes, e.g. exp/taste")
    parser.add_argument("--config", nargs="+", required=True, help="YAML files; a later one overrides an earlier one")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings that override the files'")
    parser.add_argument(
        "--init", type=Path, help="system to start from, e.g. exp/text_only, or an llm.pt of CosyVoice; random without"
    )
    parser.add_argument(
        "--sentencepiece_model", type=Path, help="that made the text tokens, where one did; it is kept with the system"
    )
    parser.add_argument("--pretrained_dir", type=Path, help="of Whisper's weights, for the aggregator whisper")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    options = parser.parse_args()

    config = name_layers(load_config(options.config, options.set), options.train_dir)
    require_same_units([options.train_dir, options.dev_dir])
    train_set, dev_set = (UnitDataset(path, config.model) for path in (options.train_dir, options.dev_dir))
    keep_sentencepiece(options.sentencepiece_model, train_set.tokens_record, options.system_dir)
    result = train(config, train_set, dev_set, options.system_dir, options.init, options.device, options.pretrained_dir)
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes
        best = result["best"]
        print(f"best dev loss {best['dev_loss']:.4f} after epoch {best['epoch']}: {options.system_dir}")


if __name__ == "__main__":
    run_main(main)
