#!/usr/bin/env python3
"""Stage 7 of the ablation: ablation.json, RESULTS.md, rows for LaTeX, charts and attention maps."""

import argparse
from pathlib import Path

from taste.ablation.analysis import write_analysis
from taste.ablation.collect import collect
from taste.ablation.report import draw_attention, write_report
from taste.errors import run_main
from taste.files import write_json
from taste.tables import read_table


def main() -> None:
    """Parse options, collect, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp_dir", type=Path, help="of the ablation, e.g. exp/ablation")
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="whose experiments are taken together")
    parser.add_argument("--layers", nargs="+", required=True, help="of the grids")
    parser.add_argument("--made_by", default="./run_ablation.sh", help="command to be quoted in RESULTS.md")
    parser.add_argument("--analysis", type=Path, help="text with places for figures; it is filled beside it")
    parser.add_argument("--maps", type=int, default=2, help="utterances whose attention is drawn (default: 2)")
    options = parser.parse_args()

    figures = collect(options.exp_dir, options.seeds, options.layers)
    write_json(options.exp_dir / "ablation.json", figures)
    data_dir = options.exp_dir / "data" / next(iter(figures["systems"]["text_only"]))
    utts = list(read_table(data_dir / "utt2word_tokens", "stage 4"))
    shown = utts[:: max(1, len(utts) // options.maps)][: options.maps]
    draw_attention(options.exp_dir, data_dir, options.seeds[0], shown, list(figures["systems"]))
    print(write_report(options.exp_dir, figures, options.made_by))
    if options.analysis:
        print(write_analysis(options.analysis, figures, options.exp_dir / "charts"))


if __name__ == "__main__":
    run_main(main)
