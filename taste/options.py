"""Values of command-line options that several scripts share."""

from __future__ import annotations


def true_or_false(text: str) -> bool:
    """The value of a boolean option, spelt `true` or `false` as in Kaldi's scripts; argparse's `type=`.

    Raises:
        ValueError: anything else.
    """
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"
