#!/usr/bin/env bash
# Stage 6: a speaker embedding for every utterance of a data directory, in parallel jobs.
set -euo pipefail

nj=1
num_threads=1
cmd=utils/run.pl
backend=resemblyzer
pretrained_dir=../../pretrained
cosyvoice_dir=
allow_pipes=false

help_message="Usage: $0 [options] <data-dir> <log-dir> <ark-dir>
 e.g.: $0 --nj 4 data/train exp/spk_emb/log/train dump/train/spk_emb
Writes <data-dir>/spk_emb.scp and spk_emb.json, <ark-dir>/spk_emb.JOB.ark, and one log a job.
Options (defaults):
  --nj N                 parallel jobs ($nj)
  --num_threads N        threads of each job ($num_threads)
  --cmd CMD              how they are run ($cmd)
  --backend NAME         resemblyzer, or campplus, which CosyVoice uses ($backend)
  --pretrained_dir DIR   where the weights of resemblyzer are kept ($pretrained_dir)
  --cosyvoice_dir DIR    CosyVoice-300M, with campplus.onnx
  --allow_pipes BOOL     run commands ('… |') in wav.scp ($allow_pipes)"

. utils/parse_options.sh

if [[ $# -ne 3 ]]; then
  echo "$help_message" >&2
  exit 1
fi
data="$1" log_dir="$2" ark_dir="$3"
split="$data/split${nj}utt"

utils/split_data.sh --per-utt "$data" "$nj"
# shellcheck disable=SC2086  # a launcher with its options
$cmd --num-threads "$num_threads" JOB=1:"$nj" "$log_dir/spk_emb.JOB.log" \
  local/once.sh "$split/JOB" spk_emb local/utt2spk_emb.py "$split/JOB" "$ark_dir/spk_emb.JOB.ark" --backend "$backend" \
  --pretrained_dir "$pretrained_dir" ${cosyvoice_dir:+--cosyvoice_dir "$cosyvoice_dir"} --allow_pipes "$allow_pipes"
local/merge_jobs.sh "$data" "$split" "$log_dir/spk_emb.JOB.log" spk_emb.scp spk_emb.json
