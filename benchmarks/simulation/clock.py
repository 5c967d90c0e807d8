"""Virtual time: an event loop that never waits, but goes to its next timer when nothing else is to do."""

from __future__ import annotations

import asyncio
import selectors


class _NoWait(selectors.DefaultSelector):
    """Says that the time has passed instead of letting it pass. Nothing of a simulation comes from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let so much time have passed."""
        if timeout is None:
            raise RuntimeError("the simulation waits for something that will never happen")
        if timeout > 0:
            self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own event loop on a clock that starts at zero: what runs on it cannot tell, and is done at once.

    The order of events is that of their times, and for equal times that of their timers: the same from run to run.
    """

    def __init__(self) -> None:
        self._virtual = _NoWait()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._virtual.now
