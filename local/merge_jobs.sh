#!/usr/bin/env bash
# Put together what the jobs of a stage wrote: their tables become one, sorted; what made them is the same for all.
set -euo pipefail

if [[ $# -lt 5 ]]; then
  echo "Usage: $0 <data-dir> <split-dir> <log> <table> … <record>.json …
 e.g.: $0 data/train data/train/split4utt exp/units/log/train/s3.JOB.log utt2s3 units.json
Each job has written the tables and records to <split-dir>/<job>, where they stay: a stage that is stopped here can be
gone on with." >&2
  exit 1
fi
data="$1" split="$2" log="$3"
tables=() records=()
for name in "${@:4}"; do
  if [[ "$name" == *.json ]]; then records+=("$name"); else tables+=("$name"); fi
done

for part in "$split"/*/; do
  grep "left out" "${log//JOB/$(basename "$part")}" >&2 || true
done
for table in "${tables[@]}"; do
  LC_ALL=C sort "$split"/*/"$table" >"$data/.$table.partial"
  if [[ ! -s "$data/.$table.partial" ]]; then
    rm "$data/.$table.partial"
    echo "$0: not one utterance of $data could be used; the reasons are in $log" >&2
    exit 1
  fi
done
for record in "${records[@]}"; do
  rm -f "$data/$record" # a table without its record is noticed, one with the record of an earlier run is not
done
for table in "${tables[@]}"; do
  mv "$data/.$table.partial" "$data/$table"
  echo "$0: $data/$table has $(wc -l <"$data/$table") utterances" >&2
done
for record in "${records[@]}"; do
  cp "$split/1/$record" "$data/.$record.partial"
  mv "$data/.$record.partial" "$data/$record"
done
