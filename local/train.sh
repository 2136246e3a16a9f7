#!/usr/bin/env bash
# Stages 7 to 9: train one system. conf/<system>.yaml, at the top of the recipe, says what makes it.
set -euo pipefail

cmd=utils/run.pl
num_threads=1
model_config=conf/model.yaml
train_config=conf/train.yaml
continued_config=
init=
seed=1
device=cpu

help_message="Usage: $0 [options] <train-dir> <dev-dir> <system-dir>
 e.g.: $0 --init exp/text_only data/train data/dev exp/taste
Writes the system, whose kind is the name of its directory, and <system-dir>/train.log. Its progress is drawn on the
terminal, if there is one.
Options (defaults):
  --cmd CMD                  how the training is run ($cmd)
  --num_threads N            its threads ($num_threads)
  --model_config FILE        sizes ($model_config)
  --train_config FILE        settings of training ($train_config)
  --continued_config FILE    settings that count more than those of the two files before
  --init DIR                 system to start from; random weights without
  --seed N                   ($seed)
  --device DEVICE            cpu, cuda or cuda:N ($device)"

. utils/parse_options.sh

if [[ $# -ne 3 ]]; then
  echo "$help_message" >&2
  exit 1
fi
train_set="$1" dev_set="$2" system_dir="$3"
system="$(basename "$system_dir")"
log="$system_dir/train.log"
configs=("$model_config" "$train_config" ${continued_config:+"$continued_config"} "$TASTE_ROOT/conf/$system.yaml")

echo "Training $system; its log: $log"
TASTE_TERMINAL="$([[ -t 2 ]] && tty <&2 || true)" \
  $cmd --num-threads "$num_threads" "$log" local/train.py "$train_set" "$dev_set" "$system_dir" \
  --config "${configs[@]}" --set "seed=$seed" --device "$device" ${init:+--init "$init"}
grep "^best dev loss" "$log"
