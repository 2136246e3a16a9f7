"""Values of command-line options that several scripts share."""

from __future__ import annotations

from taste.errors import RecipeError


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
