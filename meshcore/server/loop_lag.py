"""Measures how late an event loop is: by a timer, and by the turns of the loop that a request takes.

Late is late, whoever causes it: calls of this process, or busy neighbours on its processor. But a timer alone would
take an idle loop for an overloaded one: where eight times too many processes are busy, it is woken up 0.1 s late. Once
it runs, though, its next turns are short, while those of an overloaded loop are as long as its calls take.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import inf

import msgspec

EVERY = 0.05
"""Seconds between two reports: 20 wake-ups a second cost an idle process 0.02 % of a core."""

_TURNS = 7
"""Turns of the loop that a request takes in hypercorn, from the arrival of its bytes to its call; on a new connection
it takes ten."""

_SLIGHT, _SUSPECT = 0.01, 1.0
"""Seconds. Paths are measured while the timer was later than that a while ago: always, an idle process would pay for it
three times as much."""

_NOTICED = 0.05
"""Seconds. Requests that wait less on their way through the loop are in time."""


class Lag(msgspec.Struct, frozen=True):
    """How late a loop is. All in seconds.

    Attributes:
        at: when that was measured, on `time.monotonic()`.
        blocked: by how much the timer was late because the loop was busy. Time in which the thread waited for a
            processor does not count; only Linux tells that, elsewhere it does.
        overload: by how much requests are late that the loop has to do with.
        path: how long a request took from its arrival to its call.
    """

    at: float = 0.0
    blocked: float = 0.0
    overload: float = 0.0
    path: float = 0.0

    @property
    def noticed(self) -> bool:
        """Whether requests wait so long that it counts."""
        return self.path > _NOTICED

    def age(self, now: float) -> float:
        """How long ago the bytes of a request arrived whose call begins now.

        It took the turns of its path, this turn so far, and at most one in which the loop had not looked yet.
        """
        return self.path * (1 + 1 / _TURNS) + now - self.at if self.noticed else 0.0


class LagMeter:
    """Makes reports of what happens when. Pure: reads no clock.

    Attributes:
        due: when the next report is due.
    """

    def __init__(self, now: float) -> None:
        self.due = now + EVERY
        self._path = 0.0
        self._measured_until = -inf
        self._begun = now
        self._turns = 0  # that are left of a path

    def tick(self, now: float, waited: float) -> Lag:
        """The report that is due, and the next one.

        Args:
            now: the time.
            waited: how much of the time since the last report the thread waited for a processor.
        """
        late = max(0.0, now - self.due)
        # A path that has not ended may take longer than the last one.
        path = max(self._path, now - self._begun) if self._turns else self._path
        if late > _SLIGHT:
            self._measured_until = now + _SUSPECT
        elif now >= self._measured_until:
            self._path = 0.0  # the last one that was measured says nothing of now
        self.due = now + EVERY
        return Lag(now, max(0.0, late - waited), min(late, path), path)

    def begin_path(self, now: float) -> bool:
        """Measure another path from now on; False if the last one has not ended, or the loop is in time."""
        if self._turns or now >= self._measured_until:
            return False
        self._begun, self._turns = now, _TURNS
        return True

    def turn(self, now: float) -> bool:
        """The loop has turned once. Returns whether the path goes on."""
        self._turns -= 1
        if not self._turns:
            self._path = now - self._begun
        return self._turns > 0


@contextmanager
def lag_reported(report: Callable[[Lag], None]) -> Generator[None]:
    """While the context lasts, report regularly how late the running event loop is."""
    timer = _Timer(asyncio.get_running_loop(), report)
    timer.start()
    try:
        yield
    finally:
        timer.stop()


class _Timer:
    def __init__(self, loop: asyncio.AbstractEventLoop, report: Callable[[Lag], None]) -> None:
        self._loop = loop
        self._report = report
        self._meter = LagMeter(time.monotonic())
        try:
            self._statistics = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, AttributeError):  # no Linux, or no scheduler statistics; Windows has no O_CLOEXEC
            self._statistics = -1

    def start(self) -> None:
        self._waited = self._waiting()
        self._handle = self._loop.call_later(EVERY, self._tick)

    def stop(self) -> None:
        self._handle.cancel()
        if self._statistics >= 0:
            os.close(self._statistics)
            self._statistics = -1

    def _tick(self) -> None:
        now = time.monotonic()
        self._report(self._meter.tick(now, self._waiting() - self._waited))
        if self._meter.begin_path(now):
            self._loop.call_soon(self._turn)
        self.start()

    def _turn(self) -> None:
        if self._meter.turn(time.monotonic()):
            self._loop.call_soon(self._turn)

    def _waiting(self) -> float:
        """Seconds that this thread has waited for a processor: in the file, the second of three numbers, in ns."""
        return int(os.pread(self._statistics, 100, 0).split()[1]) / 1e9 if self._statistics >= 0 else 0.0
