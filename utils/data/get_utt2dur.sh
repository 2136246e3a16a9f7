#!/usr/bin/env bash
# Make utt2dur, the durations of utterances in seconds, as Kaldi's get_utt2dur.sh; --help tells more.
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "$(readlink -f "$0")")/../../path.sh"
exec python3 "$TASTE_ROOT/utils/python/get_utt2dur.py" "$@"
