"""Values of command-line options that several scripts share."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from taste.errors import RecipeError


def exit_with_usage(usage: str) -> NoReturn:
    """Print a tool's usage and end it: with status 0 where `--help` asked for it, else with 1."""
    print(usage.strip())
    sys.exit(0 if sys.argv[1:2] == ["--help"] else 1)


def kaldi_options(arguments: Sequence[str], defaults: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Part a command line into options and the arguments behind them, as Kaldi's `parse_options.sh` does.

    A value may begin with a dash, as suffixes do (`--utt-suffix -sp0.9`), which argparse does not let through.

    Args:
        arguments: what is behind the script's name; `--name value` or `--name=value`, where `-` may stand for `_`.
        defaults: the names of the options, with `_`, and their values; one that is `true` or `false` stays so.

    Returns:
        The values of all options, and the arguments that are left: none where the first is `--help`.

    Raises:
        RecipeError: there is no such option, its value is missing, or is neither `true` nor `false`.
    """
    if arguments[:1] == ["--help"]:
        return dict(defaults), []
    options, rest = dict(defaults), list(arguments)
    while rest and rest[0].startswith("--"):
        option, equals, value = rest.pop(0).partition("=")
        name = option[2:].replace("-", "_")
        if name not in options:
            raise RecipeError(f"invalid option {option}; --help lists the options")
        if not equals:
            if not rest:
                raise RecipeError(f"option {option} needs a value")
            value = rest.pop(0)
        if options[name] in ("true", "false") and value not in ("true", "false"):
            raise RecipeError(f"option {option} takes true or false, got '{value}'")
        options[name] = value
    return options, rest


def true_or_false(text: str) -> bool:
    """The value of a boolean option, spelt `true` or `false` as in Kaldi's scripts; argparse's `type=`.

    Raises:
        ValueError: anything else.
    """
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def positive_int(option: str, value: str) -> int:
    """The value of an option that counts something.

    Raises:
        RecipeError: it is no positive integer.
    """
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise RecipeError(f"{option} takes a positive number, got '{value}'")
    return int(value)


def positive_float(option: str, value: str) -> float:
    """The value of an option that measures something.

    Raises:
        RecipeError: it is no positive number.
    """
    try:
        if 0 < (number := float(value)) < float("inf"):
            return number
    except ValueError:
        pass
    raise RecipeError(f"{option} takes a positive number, got '{value}'")
