#!/usr/bin/env bash
# Stage 5: S3 units for every utterance of a data directory, in parallel jobs.
set -euo pipefail

nj=1
num_threads=1
cmd=utils/run.pl
backend=kmeans
units_dir=exp/units
pretrained_dir=../../pretrained
cosyvoice_dir=
device=cpu
allow_pipes=false

help_message="Usage: $0 [options] <data-dir> <log-dir>
 e.g.: $0 --nj 4 data/train exp/units/log/train
Writes <data-dir>/utt2s3 and units.json, which says what made the units, and one log a job.
Options (defaults):
  --nj N                 parallel jobs ($nj)
  --num_threads N        threads of each job ($num_threads)
  --cmd CMD              how they are run ($cmd)
  --backend NAME         kmeans (local/train_kmeans.py first), or cosyvoice ($backend)
  --units_dir DIR        codebook of local/train_kmeans.py ($units_dir)
  --pretrained_dir DIR   where stage 3 keeps Whisper's weights ($pretrained_dir)
  --cosyvoice_dir DIR    CosyVoice-300M, with speech_tokenizer_v1.onnx
  --device DEVICE        cpu or cuda ($device)
  --allow_pipes BOOL     run commands ('… |') in wav.scp ($allow_pipes)"

. utils/parse_options.sh

if [[ $# -ne 2 ]]; then
  echo "$help_message" >&2
  exit 1
fi
data="$1" log="$2/s3.JOB.log"
split="$data/split${nj}utt"

utils/split_data.sh --per-utt "$data" "$nj"
# shellcheck disable=SC2086  # a launcher with its options
$cmd --num-threads "$num_threads" JOB=1:"$nj" "$log" \
  local/once.sh "$split/JOB" units local/wav2units.py "$split/JOB" --backend "$backend" --units_dir "$units_dir" \
  --pretrained_dir "$pretrained_dir" ${cosyvoice_dir:+--cosyvoice_dir "$cosyvoice_dir"} --device "$device" \
  --allow_pipes "$allow_pipes"
local/merge_jobs.sh "$data" "$split" "$log" utt2s3 units.json
