#!/usr/bin/env bash
# Train and evaluate with several seeds, on the data that ./run.sh has prepared, and print the table of all of them.
# Options go to ./run.sh. Stopped and started again, it goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seeds="1 2 3"
experiments=()
for seed in $seeds; do
  ./run.sh --stage 7 --stop_stage 10 --again false --seed "$seed" --exp "exp/seed$seed" "$@"
  experiments+=("exp/seed$seed")
done
. ./path.sh
local/compare_seeds.py "${experiments[@]}" | tee exp/SEEDS.md
echo "Table: exp/SEEDS.md"
