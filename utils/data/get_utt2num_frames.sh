#!/usr/bin/env bash
# Make utt2num_frames, the numbers of frames of utterances, as Kaldi's get_utt2num_frames.sh; --help tells more.
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "$(readlink -f "$0")")/../../path.sh"
exec python3 "$TASTE_ROOT/utils/python/get_utt2num_frames.py" "$@"
