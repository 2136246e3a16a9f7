"""The signals that end a launcher, as an exception where it can clean up after itself."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class Interrupts:
    """Whether Ctrl-C and its like are held back at the moment, and which came meanwhile."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: str | None = None

    def handle(self, number: int, _frame: Any) -> None:
        """Raise KeyboardInterrupt, or keep it for later."""
        if not self._held:
            raise KeyboardInterrupt(signal.Signals(number).name)
        self._waiting = signal.Signals(number).name

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold them back while the block runs; what came is raised when it ends without an error."""
        self._held = True
        yield
        self._held = False
        if self._waiting:
            raise KeyboardInterrupt(self._waiting)

    def ignore(self) -> None:
        """From now on, none is raised: a second Ctrl-C must not disturb the ending of the jobs."""
        self._held = True


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Raise KeyboardInterrupt for SIGINT, SIGTERM and SIGHUP while the block runs."""
    state = Interrupts()
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {number: signal.signal(number, state.handle) for number in heeded}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
