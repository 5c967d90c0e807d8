"""Measures the lag of an event loop: how late a timer fires because the loop was busy.

Time in which the thread waited for a processor does not count: refusing calls would not make that shorter, and on a
machine with eight times too many busy processes an idle loop is late by 0.1 s. Only Linux tells that time per thread;
elsewhere it is counted as lag.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

EVERY = 0.05
"""Seconds between two reports: 20 wake-ups a second cost an idle process 0.02 % of a core."""


@contextmanager
def lag_reported(report: Callable[[float, float], None]) -> Generator[None]:
    """While the context lasts, report regularly the lag of the running event loop in seconds, and the time."""
    timer = _Timer(asyncio.get_running_loop(), report)
    timer.start()
    try:
        yield
    finally:
        timer.stop()


class _Timer:
    def __init__(self, loop: asyncio.AbstractEventLoop, report: Callable[[float, float], None]) -> None:
        self._loop = loop
        self._report = report
        try:
            self._statistics = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, AttributeError):  # no Linux, or no scheduler statistics; Windows has no O_CLOEXEC
            self._statistics = -1

    def start(self) -> None:
        self._due = time.monotonic() + EVERY
        self._waited = self._waiting()
        self._handle = self._loop.call_later(EVERY, self._tick)

    def stop(self) -> None:
        self._handle.cancel()
        if self._statistics >= 0:
            os.close(self._statistics)

    def _tick(self) -> None:
        now = time.monotonic()
        self._report(max(0.0, now - self._due - (self._waiting() - self._waited)), now)
        self.start()

    def _waiting(self) -> float:
        """Seconds that this thread has waited for a processor: in the file, the second of three numbers, in ns."""
        return int(os.pread(self._statistics, 100, 0).split()[1]) / 1e9 if self._statistics >= 0 else 0.0
