#!/usr/bin/env bash
# Parse command-line options. To be sourced, as in Kaldi: every variable that the script has defined before is an option
#
#   stage=1
#   . utils/parse_options.sh
#
# takes --stage 3; dashes in a name stand for underscores (--stop-stage sets stop_stage). What is left in "$@" are the
# positional arguments. A variable that holds true or false takes no other value. --config FILE sources FILE, which may
# set no other variables unless their names are in capitals, and what the command line says counts more than the file.
# --help prints $help_message.

_parse_options_fail() {
  echo "$0: $1" >&2
  exit 1
}

# The files first, wherever --config stands, so that the options of the command line override them.
for ((_parse_options_i = 1; _parse_options_i <= $#; _parse_options_i++)); do
  if [[ "${!_parse_options_i}" == --config ]]; then
    ((_parse_options_i += 1))
    config="${!_parse_options_i:-}"
    [[ -f "$config" && -r "$config" ]] || _parse_options_fail "--config: cannot read the file '$config'"
    [[ "$config" == */* ]] || config="./$config" # without a slash, bash would look along PATH
    _parse_options_known="$(compgen -v)"
    # shellcheck source=/dev/null
    . "$config"
    for _parse_options_name in $(compgen -v | grep -vE '^[A-Z_]' | grep -vxF "$_parse_options_known" || true); do
      _parse_options_line="$(grep -nm 1 "^[^#]*\b$_parse_options_name=" "$config" | cut -d : -f 1)"
      _parse_options_fail \
        "$config:$_parse_options_line: invalid option $_parse_options_name; '$0 --help' lists the options"
    done
  fi
done

while [[ "${1:-}" == --* || "${1:-}" == -h ]]; do
  case "$1" in
    --help | -h)
      printf '%s\n' "${help_message:-$0 has no help message; its first lines show the options}"
      exit 0
      ;;
    --*=*) _parse_options_fail "options are written '--name value', got '$1'" ;;
  esac
  _parse_options_name="${1#--}"
  _parse_options_name="${_parse_options_name//-/_}"
  [[ "$_parse_options_name" =~ ^[A-Za-z_][A-Za-z0-9_]*$ && -n "${!_parse_options_name+defined}" ]] ||
    _parse_options_fail "invalid option $1; '$0 --help' lists the options"
  [[ $# -ge 2 ]] || _parse_options_fail "option $1 needs a value"
  [[ "$2" != --* ]] || _parse_options_fail "option $1 needs a value, got '$2'"
  case "${!_parse_options_name}" in
    true | false)
      [[ "$2" == true || "$2" == false ]] || _parse_options_fail "option $1 takes true or false, got '$2'"
      ;;
  esac
  printf -v "$_parse_options_name" '%s' "$2"
  shift 2
done

# A mistake in a script easily leaves the launcher empty, and then every command would run without a log.
[[ -n "${cmd-unset}" ]] || _parse_options_fail "option --cmd is empty; give a launcher such as utils/run.pl"

unset -f _parse_options_fail
unset _parse_options_i _parse_options_name _parse_options_known _parse_options_line
