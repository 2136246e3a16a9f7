#!/usr/bin/env bash
# Times the data-directory tools on many utterances, beside sort and awk, and Kaldi's own scripts where $KALDI_ROOT is.
set -euo pipefail

num_utts=1000000
runs=3
dir=
help_message="Usage: utils/benchmark_data_dir.sh [--num-utts $num_utts] [--runs $runs] [--dir <dir>]
 e.g.: KALDI_ROOT=~/kaldi utils/benchmark_data_dir.sh --dir /scratch/benchmark

Makes data directories (wav.scp, text, utt2spk, spk2utt, utt2dur) of --num-utts utterances in --dir, by default a
temporary directory, and prints a table: seconds that passed, in brackets those of the processors, of the fastest of
--runs runs. 'sort, awk' is what LC_ALL=C sort and awk '{print \$1}' take for the same files, one by one, twice over.
  validate   a directory in order
  fix        the same, and one whose text is shuffled and whose wav.scp lacks every thousandth utterance
  subset     half of the utterances
  split      32 parts
  combine    two directories, with every second speaker each
  diff       two directories, with other words in every thousandth utterance of one"

utils="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
if [[ $# -ne 0 ]]; then
  echo "$help_message"
  exit 1
fi
export LC_ALL=C
if [[ -z "$dir" ]]; then
  dir="$(mktemp -d)"
  trap 'rm -rf "$dir"' EXIT
fi
tables=(wav.scp text utt2spk spk2utt utt2dur)

make_data_dirs() { # train, which is in order; disorder, which is not; changed, with other words; even and odd, the halves
  mkdir -p train disorder changed even odd
  awk -v n="$num_utts" 'BEGIN {
    srand(1)
    split("the of and to a in that he was it his I with is as for had you not be her on at by which have or from", word)
    for (i = 0; i < n; i++) {
      spk = sprintf("%05d", i / 200)
      utt = sprintf("%s-%05d-%04d", spk, i / 50, i % 50)
      if (i % 200 == 0) printf("%s%s", i ? "\n" : "", spk) > "train/spk2utt"
      printf(" %s", utt) > "train/spk2utt"
      printf("%s %s\n", utt, spk) > "train/utt2spk"
      printf("%s /corpus/train/%s/%05d/%s.flac\n", utt, spk, i / 50, utt) > "train/wav.scp"
      printf("%s %.4f\n", utt, 1 + 15 * rand()) > "train/utt2dur"
      printf("%s", utt) > "train/text"
      for (k = 4 + int(20 * rand()); k; k--) printf(" %s", toupper(word[1 + int(28 * rand())])) > "train/text"
      printf("\n") > "train/text"
    }
    printf("\n") > "train/spk2utt"
  }'
  cp train/* disorder
  shuf --random-source=train/utt2spk train/text >disorder/text
  awk 'NR % 1000' train/wav.scp >disorder/wav.scp
  cp train/* changed
  awk 'NR % 1000 == 0 {$2 = "OTHER"} {print}' train/text >changed/text
  for table in "${tables[@]}"; do
    awk -v name="$table" '{half = substr($1, 5, 1) % 2 ? "odd" : "even"; print > (half "/" name)}' "train/$table"
  done
}

sort_and_awk() { # the files of data directories, twice over
  local table
  for table in "${@/%//wav.scp}" "${@/%//text}" "${@/%//utt2spk}" "${@/%//spk2utt}" "${@/%//utt2dur}"; do
    for _ in 1 2; do
      sort "$table" >sorted
      awk '{print $1}' "$table" >ids
    done
  done
}

fastest() { # the figures of a command, which may make or change the directory scratch, a copy of the first source
  local TIMEFORMAT='%R %U %S'
  for ((run = 0; run < runs; run++)); do
    rm -rf scratch train/split32
    [[ "$1" != */fix_data_dir.sh ]] || cp -r "${sources[0]}" scratch
    { time "$@" >log 2>&1 || echo failed; } 2>&1
  done | awk '/failed/ {failed = 1}
    NR == 1 || $1 < best {best = $1; processors = $2 + $3}
    END {if (failed) print "failed"; else printf("%.1f (%.1f)", best, processors)}'
}

row() { # of the table: a name, the directories that are read, and the call of a tool
  local name="$1" sources tool="$3" kaldi=-
  read -ra sources <<<"$2"
  shift 3
  if [[ -n "${KALDI_ROOT:-}" ]]; then
    kaldi="$(PATH="$PWD/utils:$PATH" fastest "utils/$tool" "$@")"
  fi
  echo "| $name | $(fastest "$utils/$tool" "$@") | $(fastest sort_and_awk "${sources[@]}") | $kaldi |"
}

mkdir -p "$dir"
cd "$dir"
make_data_dirs
if [[ -n "${KALDI_ROOT:-}" ]]; then
  ln -sfn "$KALDI_ROOT/egs/wsj/s5/utils" utils
  touch path.sh
fi
echo "| tool | these | sort, awk | Kaldi's |"
echo "| --- | --- | --- | --- |"
row validate train validate_data_dir.sh --no-feats train
row "fix, in order" train fix_data_dir.sh scratch
row "fix, in disorder" disorder fix_data_dir.sh scratch
row subset train subset_data_dir.sh train $((num_utts / 2)) scratch
row split train split_data.sh train 32
row combine "even odd" combine_data.sh scratch even odd
differ() { "$utils/diff_data_dir.sh" "$@" || [[ $? == 1 ]]; } # the status of what it is to find
echo "| diff | $(fastest differ train changed) | $(fastest sort_and_awk train changed) | - |"
