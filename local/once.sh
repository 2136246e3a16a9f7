#!/usr/bin/env bash
# Run one job of a stage on its part of a data directory, unless it has been done since the part was made.
set -euo pipefail

if [[ $# -lt 3 ]]; then
  echo "Usage: $0 <part-dir> <name> <command> …
 e.g.: $0 data/train/split4utt/1 units local/wav2units.py data/train/split4utt/1
When the command has ended well, <part-dir>/.<name>.done keeps its command line and output, which is shown instead where
the same is asked for again: a stage that was stopped runs only those of its jobs that had not ended." >&2
  exit 1
fi
done_file="$1/.$2.done"
if [[ "$done_file" -nt "$1/utt2spk" && "$(head -n 1 "$done_file")" == "${*:3}" ]]; then
  tail -n +2 "$done_file"
  exit 0
fi
rm -f "$done_file"
{
  printf '%s\n' "${*:3}"
  "${@:3}" 2>&1
} | tee "$done_file.partial" | tail -n +2
mv "$done_file.partial" "$done_file"
