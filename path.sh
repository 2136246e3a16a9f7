# shellcheck shell=bash
# Makes or activates the environment and sets the paths. To be sourced.
#
# An activated environment (venv or conda) that satisfies requirements.txt is used as it is and never altered.
# Otherwise .venv in this checkout is used, and made first where it is missing or requirements.txt has changed.
# taste_requirements: requirement files that the caller needs besides (tests/run.sh names its own).

TASTE_ROOT="$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export TASTE_ROOT
export PATH="$TASTE_ROOT/utils:$TASTE_ROOT/local:$PATH"
export PYTHONPATH="$TASTE_ROOT${PYTHONPATH:+:$PYTHONPATH}"
export LC_ALL=C.UTF-8
# glibc gives tensors of more than 32 MB back to the system and faults them in again at every step; with these
# thresholds it keeps them.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296
export THP_MEM_ALLOC_ENABLE=1 # and torch takes large pages, of which it touches fewer

taste_use_environment() {
  local files=("$TASTE_ROOT/requirements.txt" "$@") active="${VIRTUAL_ENV:-${CONDA_PREFIX:-}}"
  if [[ -n "$active" && "$active" != "$TASTE_ROOT/.venv" ]]; then
    if python "$TASTE_ROOT/utils/python/check_requirements.py" "${files[@]}"; then
      return
    fi
    echo "path.sh: so the active environment $active is left alone, and $TASTE_ROOT/.venv is used" >&2
  fi
  "$TASTE_ROOT/utils/make_environment.sh" "${files[@]}" || return
  export VIRTUAL_ENV="$TASTE_ROOT/.venv"
  export PATH="$VIRTUAL_ENV/bin:$PATH"
}

taste_use_environment ${taste_requirements:+"$taste_requirements"}
