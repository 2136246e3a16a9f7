#!/usr/bin/env python3
"""Stage 4, one job: text tokens and layers of Whisper's encoder for a data directory or a part of one.

Writes utt2token, utt2word_tokens, tokens.json, feats_l<K>.scp, feats_last.scp, feats.json, and the links
feats_deep.scp and feats_shallow.scp to the layers in use. local/feats.sh runs it in parallel.
"""

import argparse

from taste.archives import STORAGE
from taste.errors import run_main
from taste.options import true_or_false
from taste.precision import CHOICES
from taste.text.tokens import TOKEN_TYPES
from taste.text_and_features import FeatureOptions, write_text_and_features


def main() -> None:
    """Parse the options, then write tokens and features."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data_dir", help="data directory with wav.scp, text and utt2dur")
    parser.add_argument("ark_dir", help="folder for the archives")
    parser.add_argument("--whisper_model", default="base", help="name of the Whisper model")
    parser.add_argument("--pretrained_dir", default="../../pretrained", help="where stage 3 keeps its weights")
    parser.add_argument(
        "--layers",
        default="2 last",
        help="encoder layers to write: 0 is after the convolutions, K after block K, last after the final LayerNorm",
    )
    parser.add_argument("--deep_layer", default="last", help="layer that feats_deep.scp links to")
    parser.add_argument("--shallow_layer", default="2", help="layer that feats_shallow.scp links to")
    parser.add_argument(
        "--storage",
        default="float16",
        choices=list(STORAGE),
        help="float16 is read by kaldiio, not by Kaldi itself; compressed is Kaldi's 8-bit format",
    )
    parser.add_argument("--pad_to_30s", type=true_or_false, default=False, help="pad audio to 30 s before the encoder")
    parser.add_argument(
        "--dtype",
        default="auto",
        choices=CHOICES,
        help="of the matrix products; auto is bfloat16 where the hardware multiplies it, else float32",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch_seconds", type=float, default=60, help="speech in one batch")
    parser.add_argument("--token_type", default="whisper", choices=TOKEN_TYPES, help="text tokenizer")
    parser.add_argument("--sentencepiece_model", help="the model for --token_type sentencepiece")
    parser.add_argument("--allow_pipes", type=true_or_false, default=False, help="run commands ('… |') in wav.scp")
    parser.add_argument("--job", help="number of this part, for the archives' names")
    parser.add_argument(
        "--dry_run", type=true_or_false, default=False, help="check the options, say the space needed, write nothing"
    )
    args = parser.parse_args()
    settings = vars(args)
    data_dir, ark_dir, job, dry_run = (settings.pop(name) for name in ("data_dir", "ark_dir", "job", "dry_run"))
    options = FeatureOptions(**{**settings, "layers": args.layers.split()})
    write_text_and_features(data_dir, ark_dir, options, job, dry_run)


run_main(main)
