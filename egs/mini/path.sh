# shellcheck shell=bash
# Environment and paths; to be sourced from the recipe's directory.
# shellcheck source=path.sh
. ../../path.sh
