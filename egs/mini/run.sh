#!/usr/bin/env bash
# The stages of ../librispeech/run.sh on the small corpus that ships in corpus/; --help lists them and all options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec ../librispeech/run.sh --config conf/mini.conf "$@"
