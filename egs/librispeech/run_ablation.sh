#!/usr/bin/env bash
# Every aggregator, quantizer and control beside each other, several seeds, on one set of data; then the tables.
set -euo pipefail
[[ -f cmd.sh && -f path.sh ]] || cd "$(dirname "${BASH_SOURCE[0]}")"

stage=1
stop_stage=7
exp=exp/ablation
seeds="1 2 3"
jobs=2
layers="2 4 last"
unit_layer=2
grid_config=
systems="text_only_continued taste taste_attention taste_whisper taste_layer_mix taste_deep_values taste_shallow_keys
  taste_mean taste_shuffled speech_query taste_rvq1 taste_rvq2 taste_rvq taste_fsq"

help_message="Usage: $0 [options] [-- options of run.sh]

Stages (--stage N starts at one, --stop_stage N ends after one); what has been trained already is left as it is:
  1  data, with its own directories and archives   $exp/data, $exp/dump
  2  text_only, with each seed                     $exp/seed<N>/text_only
  3  all systems from it                           $exp/seed<N>/<system>
  4  evaluation                                    $exp/seed<N>/results.json
  5  key layers by value layers, one seed          $exp/grid
  6  the same with units of another layer          $exp/grid_other_units
  7  tables, charts, attention maps                $exp/RESULTS.md, ablation.json, charts/, tables.tex;
     where there is an analysis.in.md, ANALYSIS.md, which is that text with its figures filled in

Options (defaults):
  --exp $exp
  --seeds '$seeds'
  --jobs $jobs                 trainings at the same time
  --layers '$layers'     of the grid; the first is the shallow layer of all other systems, the last the deep one
  --unit_layer $unit_layer           of the model that the k-means units of stage 6 are made of; empty: no stage 6
  --grid_config '$grid_config'           settings of stages 5 and 6 that differ from those of run.sh's stage 7, in place of stage 8's
  --systems '$systems'"

options=() # before --
while [[ $# -gt 0 && "$1" != -- ]]; do
  options+=("$1")
  shift
done
[[ $# -eq 0 ]] || shift
recipe=(./run.sh "$@" --again false)
command_line="$0${options[*]:+ ${options[*]}}${*:+ -- $*}"
set -- "${options[@]}"
. utils/parse_options.sh
if [[ $# -gt 0 ]]; then
  echo "$0: unexpected argument '$1'; --help lists the options" >&2
  exit 1
fi
. ./path.sh

log() { echo "$(date '+%H:%M:%S') $*"; }
runs() { ((stage <= $1 && $1 <= stop_stage)); }
each_seed() { printf '%s\n' "${all_seeds[@]}" | xargs -P "$jobs" -I '{}' "$@"; }

read -ra all_layers <<<"$layers"
read -ra all_systems <<<"$(echo "$systems" | tr '\n' ' ')"
read -ra all_seeds <<<"$seeds"
shallow="${all_layers[0]}" deep="${all_layers[-1]}"
recipe+=(--data "$exp/data" --dump "$exp/dump" --train_jobs "$jobs")

if runs 1; then
  log "Ablation, stage 1: data"
  "${recipe[@]}" --exp "$exp" --stage 0 --stop_stage 6 --layers "$layers" --shallow_layer "$shallow" --deep_layer "$deep"
fi

if runs 2; then
  log "Ablation, stage 2: text_only"
  each_seed "${recipe[@]}" --stage 7 --stop_stage 7 --seed '{}' --exp "$exp/seed{}"
fi

if runs 3; then
  log "Ablation, stage 3: ${all_systems[*]}"
  # The first, which has no speech to read, comes last: with short work at the end no processor waits long for others.
  for seed in "${all_seeds[@]}"; do
    "${recipe[@]}" --stage 8 --stop_stage 8 --seed "$seed" --exp "$exp/seed$seed" \
      --systems_8 "${all_systems[*]:1} ${all_systems[0]}"
  done
fi

if runs 4; then
  log "Ablation, stage 4: evaluation"
  for seed in "${all_seeds[@]}"; do
    "${recipe[@]}" --stage 10 --stop_stage 10 --seed "$seed" --exp "$exp/seed$seed" --systems "text_only ${all_systems[*]}"
  done
fi

# Train and evaluate a system for each pair of layers, from $1/text_only, with further options of run.sh.
grid() {
  local folder="$1" cells=()
  local systems_8 conf options=("${@:2}" --seed "${all_seeds[0]}" --exp "$folder")
  mkdir -p "$exp/conf"
  for key in "${all_layers[@]}"; do
    for value in "${all_layers[@]}"; do
      cells+=("k${key}_v$value")
      conf="$exp/conf/k${key}_v$value.yaml"
      [[ -f "$conf" ]] || # one written anew would count as changed
        printf 'like: %s/conf/taste.yaml\nkey_layer: %s\nvalue_layers: [%s]\n' "$TASTE_ROOT" "$key" "$value" >"$conf"
    done
  done
  systems_8="text_only_continued ${cells[*]}"
  [[ -z "$grid_config" ]] || options+=(--continued_config "$grid_config")
  "${recipe[@]}" "${options[@]}" --stage 8 --stop_stage 8 --systems_8 "$systems_8" --system_confs "$exp/conf"
  "${recipe[@]}" "${options[@]}" --stage 10 --stop_stage 10 --systems "$systems_8"
}

if runs 5; then
  log "Ablation, stage 5: key layers by value layers"
  mkdir -p "$exp/grid"
  ln -sfn "../seed${all_seeds[0]}/text_only" "$exp/grid/text_only"
  grid "$exp/grid"
fi

if runs 6 && [[ -n "$unit_layer" ]]; then
  log "Ablation, stage 6: the same with units of layer $unit_layer"
  other=(--data "$exp/data_other_units" --kmeans_layer "$unit_layer")
  for folder in "$exp"/data/*; do
    other_folder="$exp/data_other_units/$(basename "$folder")"
    readarray -d '' tables < <(find "$folder" -maxdepth 1 ! -type d ! -name utt2s3 ! -name units.json -print0)
    mkdir -p "$other_folder"
    local/step.py 6 "$other_folder" copy --exp "$exp" --inputs "${tables[@]}" \
      --outputs "${tables[@]/#"$folder"/"$other_folder"}" -- cp -P "${tables[@]}" "$other_folder"
  done
  "${recipe[@]}" "${other[@]}" --exp "$exp/grid_other_units" --stage 5 --stop_stage 5
  "${recipe[@]}" "${other[@]}" --stage 7 --stop_stage 7 --seed "${all_seeds[0]}" --exp "$exp/grid_other_units"
  grid "$exp/grid_other_units" "${other[@]}"
fi

if runs 7; then
  log "Ablation, stage 7: tables and charts"
  analysis=()
  [[ ! -f analysis.in.md ]] || analysis=(--analysis analysis.in.md)
  local/ablation.py "$exp" "${analysis[@]}" --seeds "${all_seeds[@]}" --layers "${all_layers[@]}" --made_by "$command_line"
fi
