#!/usr/bin/env bash
# Times the data-directory tools on many utterances, beside sort and awk, and Kaldi's own scripts where $KALDI_ROOT is.
set -euo pipefail

num_utts=1000000
runs=3
dir=
help_message="Usage: utils/benchmark_data_dir.sh [--num-utts $num_utts] [--runs $runs] [--dir <dir>]
 e.g.: KALDI_ROOT=~/kaldi utils/benchmark_data_dir.sh --dir /scratch/benchmark

Makes a data directory (wav.scp, text, utt2spk, spk2utt, utt2dur) of --num-utts utterances in --dir, by default a
temporary directory, and prints a table: seconds that passed, in brackets those of the processors, of the fastest of
--runs runs. 'sort, awk' is what LC_ALL=C sort and awk '{print \$1}' take for the five files, one after the other, twice.
  validate   the directory is in order
  fix        its text is shuffled, and its wav.scp lacks every thousandth utterance
  subset     half of the utterances
  split      32 parts
  combine    two directories, with every second speaker each"

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=utils/parse_options.sh
. "$here/parse_options.sh"
if [[ $# -ne 0 ]]; then
  echo "$help_message"
  exit 1
fi
export LC_ALL=C OMP_NUM_THREADS=1
if [[ -z "$dir" ]]; then
  dir="$(mktemp -d)"
  trap 'rm -rf "$dir"' EXIT
fi
mkdir -p "$dir/ours" "$dir/theirs"
dir="$(cd "$dir" && pwd)"
tables=(wav.scp text utt2spk spk2utt utt2dur)

make_data_dirs() { # in the current folder: train, which is in order, disorder, which is not, and its halves even and odd
  rm -rf train disorder even odd
  mkdir -p train disorder even odd
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
  for table in "${tables[@]}"; do
    awk -v name="$table" '{half = substr($1, 5, 1) % 2 ? "odd" : "even"; print > (half "/" name)}' "train/$table"
  done
}

sort_and_awk() {
  local table
  for table in "${tables[@]}" "${tables[@]}"; do
    sort "train/$table" >sorted
    awk '{print $1}' "train/$table" >ids
  done
}

fastest() { # seconds that passed, and of the processors, of the fastest of the runs of a command
  local TIMEFORMAT='%R %U %S' run
  for ((run = 0; run < runs; run++)); do
    rm -rf scratch even_and_odd half train/split32
    cp -r disorder scratch
    { time "$@" >log 2>&1 || echo failed; } 2>&1
  done | awk -v file="$PWD/log" '/failed/ {failed = 1}
    NR == 1 || $1 < best {best = $1; processors = $2 + $3}
    END {if (failed) print "failed, see " file; else printf("%.2f (%.2f)", best, processors)}'
}

declare -A calls=(
  [validate]="validate_data_dir.sh --no-feats train"
  [fix]="fix_data_dir.sh scratch"
  [subset]="subset_data_dir.sh train $((num_utts / 2)) half"
  [split]="split_data.sh train 32"
  [combine]="combine_data.sh even_and_odd even odd"
)
cd "$dir/ours"
make_data_dirs
ln -sfn "$here" utils
reference="$(fastest sort_and_awk)"
if [[ -n "${KALDI_ROOT:-}" ]]; then
  cd "$dir/theirs"
  ln -sfn "$KALDI_ROOT/egs/wsj/s5/utils" utils
  touch path.sh
  make_data_dirs
fi
echo "| tool | these | sort, awk | Kaldi's |"
echo "| --- | --- | --- | --- |"
for tool in validate fix subset split combine; do
  read -ra call <<<"${calls[$tool]}"
  kaldi="-"
  if [[ -n "${KALDI_ROOT:-}" ]]; then
    kaldi="$(cd "$dir/theirs" && PATH="$PWD/utils:$PATH" fastest "utils/${call[0]}" "${call[@]:1}")"
  fi
  echo "| $tool | $(cd "$dir/ours" && fastest "utils/${call[0]}" "${call[@]:1}") | $reference | $kaldi |"
done
