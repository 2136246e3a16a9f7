"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)
T = TypeVar("T")
SECONDS_BETWEEN_LINES = 20.0


def progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "utt") -> Iterator[T]:
    """Yield `items`, showing how many are done: tqdm where stderr is a terminal, else a log line now and then."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=unit, dynamic_ncols=True)
        return
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
