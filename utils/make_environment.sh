#!/usr/bin/env bash
# Make the environment .venv of this checkout, or bring it up to date; does nothing where it is as it should be.
set -euo pipefail

if [[ $# -eq 0 || "$1" == --help ]]; then
  echo "Usage: $0 <requirements.txt> [<other-requirements.txt> …]" >&2
  exit 1
fi

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
log="$venv/setup.log"

# What has been installed is remembered as a copy of the files that said so.
remembered() { echo "$venv/installed/$(realpath --relative-to="$root" "$1" | tr / -)"; }
is_installed() { cmp -s "$root/constraints.txt" "$(remembered "$root/constraints.txt")" && cmp -s "$1" "$(remembered "$1")"; }

# Debian's own python3 comes without ensurepip unless python3-venv is there.
find_python() {
  local python
  for python in python3 python3.13 python3.12 python3.11 python3.10; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  echo "$0: no Python 3.10 to 3.13 with the venv module found; install one (on Debian: apt install python3-venv)" >&2
  return 1
}

run_logged() {
  if ! "$@" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "$0: failed: $*; the whole log is $log. Run the same command again to go on." >&2
    exit 1
  fi
}

missing=()
for file in "$@"; do
  is_installed "$file" || missing+=("$file")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  python="$(find_python)"
  echo "Making the environment $venv with $("$python" --version) (once; some minutes)" >&2
  "$python" -m venv --clear "$venv"
fi
: >"$log"
for file in "${missing[@]}"; do
  echo "Installing $(realpath --relative-to="$root" "$file") (log: $log)" >&2
  # --no-compile: Python compiles what is imported when it is first, a small part of all
  run_logged "$venv/bin/python" -m pip install --disable-pip-version-check --no-compile \
    --constraint "$root/constraints.txt" --requirement "$file"
done

# torchaudio's wheel is linked against CUDA. Beside a CPU-only torch it does not import with its compiled extension, but
# does without, and nothing that the recipe uses is in there.
if ! "$venv/bin/python" -c 'import torchaudio' 2>>"$log"; then
  echo "Removing torchaudio's compiled extension, which does not load here; the recipe does not need it" >&2
  find "$venv"/lib/python*/site-packages/torchaudio/lib -name '*torchaudio*.so' -delete
  run_logged "$venv/bin/python" -c 'import torchaudio'
fi

mkdir -p "$venv/installed"
for file in "$root/constraints.txt" "$@"; do
  cp "$file" "$(remembered "$file")"
done
