"""Progress of long work: a bar on a terminal, plain lines in a log.

A job whose output goes to a log file can still draw its bar on the terminal that $TASTE_TERMINAL names, and jobs that
run at the same time on lines of their own, $TASTE_TERMINAL_LINE below the first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)
T = TypeVar("T")
SECONDS_BETWEEN_LINES = 20.0


def progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "utt") -> Iterator[T]:
    """Yield `items`, showing how many are done: tqdm where stderr is a terminal, else a log line now and then."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    with contextlib.ExitStack() as stack:
        terminal = _terminal(stack)
        if terminal is not None:
            line = int(os.environ.get("TASTE_TERMINAL_LINE") or 0)
            bar = {"position": line, "dynamic_ncols": True, "leave": False}
            items = tqdm(items, desc=what, total=total, unit=unit, file=terminal, **bar)
        yield from items if sys.stderr.isatty() else _logged(items, what, total, unit)


def _terminal(stack: contextlib.ExitStack) -> TextIO | None:
    """Where to draw a bar, or None."""
    if sys.stderr.isatty():
        return sys.stderr
    with contextlib.suppress(OSError):
        return stack.enter_context(open(os.environ.get("TASTE_TERMINAL") or "", "w"))
    return None


def _logged(items: Iterable[T], what: str, total: int | None, unit: str) -> Iterator[T]:
    """Yield `items`, logging a line now and then."""
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            logger.info("%s: %d/%s %s, %.1f %s/s", what, done, total or "?", unit, done / (now - start), unit)
    logger.info("%s: %d %s in %.1f s", what, done, unit, time.monotonic() - start)
