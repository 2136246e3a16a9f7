"""Errors for people, and the record of utterances that had to be left out."""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

WHAT_TO_DO = {
    errno.ENOSPC: "make room on the disk, and run this again",
    errno.EDQUOT: "make room on the disk, and run this again",
    errno.EFBIG: "allow larger files (ulimit -f), and run this again",
    errno.EACCES: "change its permissions, or work on a copy",
    errno.EPERM: "change its permissions, or work on a copy",
    errno.EROFS: "work on a copy on another disk",
}


class RecipeError(Exception):
    """What is wrong, in which file or utterance, and what to do: its message is printed without a traceback."""


class UtteranceError(RecipeError):
    """A fault of one utterance: the caller names it, counts it and goes on without it."""


class Skipped:
    """The utterances that a stage left out, each with its reason.

    Example::

        skipped = Skipped("features")
        try:
            ...
        except UtteranceError as error:
            skipped.add(utt, error)
        skipped.report(total)
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.reasons: dict[str, str] = {}

    def add(self, utt: str, reason: str | Exception, path: str | Path | None = None) -> None:
        """Record and log that `utt` is left out; `path` names the file at fault where the reason does not."""
        self.reasons[utt] = str(reason)
        where = f" ({path})" if path else ""
        logger.warning("left out %s%s: %s", utt, where, reason)

    def __len__(self) -> int:
        return len(self.reasons)

    def report(self, total: int, may_be_all: bool = False) -> None:
        """Log how many of `total` utterances were left out.

        Args:
            total: the utterances there were.
            may_be_all: for one job of several, whose others may go on when this one has nothing left.

        Raises:
            RecipeError: nothing is left to go on with.
        """
        if self.reasons:
            logger.warning("%s: left out %d of %d utterances, named above", self.what, len(self), total)
        if total and len(self) >= total and not may_be_all:
            raise RecipeError(f"{self.what}: none of the {total} utterances could be used; the reasons are named above")


def run_main(main: Callable[[], None], failure: int = 1) -> None:
    """Run a script's `main`; a `RecipeError`, or an error of a file or disk, becomes one message.

    Args:
        main: the script's function.
        failure: the exit status after any error, for tools in which 1 means something else.
    """
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        main()
    except RecipeError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        sys.exit(failure)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        advice = f"; {WHAT_TO_DO[error.errno]}" if error.errno in WHAT_TO_DO else ""
        print(f"{name}: error: {reason}{advice}", file=sys.stderr)
        sys.exit(failure)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        sys.exit(failure)
