#!/usr/bin/env bash
# Stages 7 to 9: train one system. conf/<system>.yaml, at the top of the recipe, says what makes it.
set -euo pipefail

cmd=utils/run.pl
num_threads=1
num_processes=1
num_nodes=1
model_config=conf/model.yaml
train_config=conf/train.yaml
continued_config=
init=
pretrained_dir=../../pretrained
sentencepiece_model=
system_confs=
stage=7
again=false
check=quick
seed=1
device=cpu

help_message="Usage: $0 [options] <train-dir> <dev-dir> <system-dir>
 e.g.: $0 --init exp/text_only data/train data/dev exp/taste
Writes the system, whose kind is the name of its directory, and <system-dir>/train.log. Its progress is drawn on the
terminal, if there is one. A system that is complete for the present data and settings is left as it is.
Options (defaults):
  --cmd CMD                  how the training is run ($cmd)
  --num_threads N            threads of each process ($num_threads)
  --num_processes N          processes on each node, one a GPU with --device cuda ($num_processes)
  --num_nodes N              nodes, one job of the launcher each, which see the same files ($num_nodes)
  --model_config FILE        sizes ($model_config)
  --train_config FILE        settings of training ($train_config)
  --continued_config FILE    settings that count more than those of the two files before
  --init DIR                 system to start from; random weights without
  --pretrained_dir DIR       where stage 3 keeps Whisper's weights, for aggregators made of its decoder ($pretrained_dir)
  --sentencepiece_model FILE that made the text tokens, where one did; it is kept with the system
  --system_confs DIR         folder of <system>.yaml that conf/ at the top has not
  --stage N                  of the recipe, for the records ($stage)
  --again BOOL               train it even if it is complete ($again)
  --check KIND               quick or full, as in local/step.py ($check)
  --seed N                   ($seed)
  --device DEVICE            cpu, cuda or cuda:N ($device)"

. utils/parse_options.sh

if [[ $# -ne 3 ]]; then
  echo "$help_message" >&2
  exit 1
fi
train_set="$1" dev_set="$2" system_dir="$3"
system="$(basename "$system_dir")"
conf="$(realpath --relative-to=. "$TASTE_ROOT/conf")" # which stays the same where the checkout is moved
system_conf="$conf/$system.yaml"
[[ ! -f "$system_confs/$system.yaml" ]] || system_conf="$system_confs/$system.yaml"
configs=("$conf/default.yaml" "$model_config" "$train_config" ${continued_config:+"$continued_config"} "$system_conf")
training=(local/train.py "$train_set" "$dev_set" "$system_dir" --config "${configs[@]}" --set "seed=$seed"
  --device "$device" --pretrained_dir "$pretrained_dir" ${init:+--init "$init"}
  ${sentencepiece_model:+--sentencepiece_model "$sentencepiece_model"})
log="$system_dir/train.log"
jobs=()
gpus=()
torchrun=()
if ((num_nodes * num_processes > 1)); then
  rendezvous="$(realpath -m "$system_dir")/rendezvous"
  rm -f "$rendezvous"
  torchrun=(env "OMP_NUM_THREADS=$num_threads" torchrun --nnodes "$num_nodes" --nproc-per-node "$num_processes"
    --rdzv-backend c10d --rdzv-endpoint "$rendezvous" --rdzv-conf store_type=file --rdzv-id "$system")
fi
if ((num_nodes > 1)); then
  log="$system_dir/train.JOB.log"
  jobs=(JOB=1:"$num_nodes")
fi
[[ "$device" == cpu ]] || gpus=(--gpu "$num_processes")

# What the system is made of: its settings, with the files that they are like, and of the data what it reads.
inputs=("${configs[@]}")
like="$system_conf"
while other="$(sed -n 's/^like: *//p' "$like")" && [[ -n "$other" ]]; do
  [[ "$other" == /* ]] || other="$(dirname "$like")/$other"
  inputs+=("$other")
  like="$other"
done
tables=(utt2s3 utt2token spk_emb.scp)
grep -q "^aggregator: none" "$system_conf" || tables+=('feats_*.scp' utt2word_tokens)
for table in "${tables[@]}"; do
  inputs+=("$train_set/$table" "$dev_set/$table")
done
if [[ -d "$init" ]]; then inputs+=("$init/best.safetensors"); else inputs+=(${init:+"$init"}); fi

echo "$system: its log is $log"
mkdir -p "$system_dir"
TASTE_TERMINAL="$([[ -t 2 ]] && tty <&2 || true)" \
  local/step.py "$stage" "$(dirname "$system_dir")" "$system" --exp "$(dirname "$system_dir")" --again "$again" \
  --check "$check" --inputs "${inputs[@]}" --outputs "$system_dir"/{config.yaml,'*.safetensors',{steps,epochs}.jsonl,train.json} \
  --state "$system_dir/state.pt" -- \
  $cmd --num-threads "$((num_threads * num_processes))" "${gpus[@]}" "${jobs[@]}" "$log" "${torchrun[@]}" -- \
  "${training[@]}"
rm -f "$system_dir/rendezvous"
grep -h "^best dev loss" "$system_dir"/train*.log
