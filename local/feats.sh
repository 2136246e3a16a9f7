#!/usr/bin/env bash
# Stage 4: text tokens and layers of Whisper's encoder for every utterance of a data directory, in parallel jobs.
set -euo pipefail

nj=1
cmd=utils/run.pl
num_threads=1
whisper_model=base
pretrained_dir=../../pretrained
layers="2 last"
deep_layer=last
shallow_layer=2
storage=float16
pad_to_30s=false
dtype=auto
device=cpu
batch_seconds=60
token_type=whisper
sentencepiece_model=
allow_pipes=false

help_message="Usage: $0 [options] <data-dir> <log-dir> <ark-dir>
 e.g.: $0 --nj 4 --layers '2 4 last' data/train exp/feats/log/train dump/train/feats
Writes <data-dir>/utt2token, utt2word_tokens, tokens.json, feats_l<K>.scp, feats_last.scp, feats.json, the links
feats_deep.scp and feats_shallow.scp, the archives <ark-dir>/feats_*.JOB.ark, and one log a job.
Options (defaults):
  --nj N                     parallel jobs ($nj)
  --num_threads N            threads of each job ($num_threads)
  --cmd CMD                  how they are run ($cmd)
  --whisper_model NAME       whose encoder is run ($whisper_model)
  --pretrained_dir DIR       where stage 3 keeps its weights ($pretrained_dir)
  --layers LIST              layers to write: 0 is after the convolutions, K after block K, last after the final
                             LayerNorm ($layers)
  --deep_layer LAYER         the one that feats_deep.scp links to ($deep_layer)
  --shallow_layer LAYER      the one that feats_shallow.scp links to ($shallow_layer)
  --storage KIND             float32; float16, which Kaldi itself cannot read; compressed, 8 bits ($storage)
  --pad_to_30s BOOL          pad audio to 30 s before the encoder, as Whisper was trained ($pad_to_30s)
  --dtype TYPE               of matrix products: float32, bfloat16, or auto, by the hardware ($dtype)
  --device DEVICE            cpu or cuda ($device)
  --batch_seconds SECONDS    speech in one batch ($batch_seconds)
  --token_type TYPE          whisper or sentencepiece ($token_type)
  --sentencepiece_model FILE the model for the latter, of local/train_sentencepiece.py
  --allow_pipes BOOL         run commands ('… |') in wav.scp ($allow_pipes)"

. utils/parse_options.sh

if [[ $# -ne 3 ]]; then
  echo "$help_message" >&2
  exit 1
fi
data="$1" log_dir="$2" ark_dir="$3"
split="$data/split${nj}utt"
log="$log_dir/feats.JOB.log"

options=(--whisper_model "$whisper_model" --pretrained_dir "$pretrained_dir" --layers "$layers"
  --deep_layer "$deep_layer" --shallow_layer "$shallow_layer" --storage "$storage" --pad_to_30s "$pad_to_30s"
  --dtype "$dtype" --device "$device" --batch_seconds "$batch_seconds" --token_type "$token_type"
  --allow_pipes "$allow_pipes")
[[ -z "$sentencepiece_model" ]] || options+=(--sentencepiece_model "$sentencepiece_model")

local/utt2text_and_feature.py "$data" "$ark_dir" "${options[@]}" --dry_run true
utils/split_data.sh --per-utt "$data" "$nj"
# shellcheck disable=SC2086  # a launcher with its options
$cmd --num-threads "$num_threads" JOB=1:"$nj" "$log" \
  local/once.sh "$split/JOB" feats local/utt2text_and_feature.py "$split/JOB" "$ark_dir" "${options[@]}" --job JOB

rm -f "$data/feats.json" "$data"/feats_*.scp # an earlier run may have had other layers
scps=("$split"/1/feats_l*.scp)
local/merge_jobs.sh "$data" "$split" "$log" utt2token utt2word_tokens "${scps[@]##*/}" tokens.json feats.json
for role in deep shallow; do
  ln -sfn "$(readlink "$split/1/feats_$role.scp")" "$data/feats_$role.scp"
done
