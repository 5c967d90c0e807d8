"""Timeouts of calls. Nearly all are cancelled, so one timer of the event loop serves many of them.

A timer of asyncio takes 2 us to set and to cancel, and each call had one or two. An entry here takes 0.2 us.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Protocol

_GAP = 1e-6
"""Seconds between two looks at the pending timeouts, for each of them. A look takes a tenth of that, so at most a tenth
of the time is spent on them; of ten thousand, some expire 10 ms late."""

_NEVER = 1e10
"""Seconds. Later timeouts get no timer: uvloop's timers, which count milliseconds, cannot hold such numbers."""


_STALL = 0.1
"""Seconds. If the timer fires so much too late, this process did nothing for a while: it had no processor, or a call
blocked its event loop."""

_READING = 0.05
"""Seconds for reading what has come during a stall."""


class Timeout(Protocol):
    """Something that happens at a time, unless it is cancelled before. It is hashed by identity.

    Attributes:
        at: the time on the clock of the event loop; infinite once it has come.
    """

    at: float

    def expire(self) -> None:
        """Called on the event loop when the time has come. It may set another time. It must not raise."""
        ...


class Timeouts:
    """Timeouts of one event loop.

    The timer is set for the earliest of the timeouts that are pending when it is set, and stays when that is cancelled.
    When it fires there may be nothing to do; then it is set for the earliest that is pending now. So it fires about
    once in the time of a typical timeout, however many calls are made meanwhile. Not thread-safe.

    Args:
        patient: whether after a stall of this process what has come is read before anything expires: for timeouts that
            say something of others.

    Attributes:
        pending: the timeouts that were added. To discard one here cancels it.
        loop: the event loop, None before the first timeout.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.pending: set[Timeout] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._next = inf  # when the timer fires
        self._timer: asyncio.TimerHandle | None = None
        self._patient = patient
        self._waited = False  # once, and not for ever if this process is overloaded

    def add(self, timeout: Timeout) -> None:
        """Let a timeout expire at its time. To be called on the event loop."""
        self.pending.add(timeout)
        if timeout.at < self._next and timeout.at < _NEVER:
            self._set_timer(timeout.at)

    def close(self) -> None:
        """Drop the timer if nothing is pending: what is left of it would keep this alive until it fires."""
        if self._timer is not None and not self.pending:
            self._timer.cancel()
            self._next, self._timer = inf, None

    def _set_timer(self, at: float) -> None:
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._next = at
        self._timer = self.loop.call_at(at, self._fire)

    def _fire(self) -> None:
        assert self.loop is not None  # noqa: S101 - the timer is set
        due, self._next, self._timer = self._next, inf, None
        now = self.loop.time()
        self._waited = self._patient and not self._waited and now - due > _STALL
        if self._waited:
            self._set_timer(now + _READING)
            return
        for each in sorted((each for each in self.pending if each.at <= now), key=_time):
            each.at = inf
            each.expire()
        following = min((each.at for each in self.pending), default=inf)
        if following < _NEVER:
            self._set_timer(max(following, now + _GAP * len(self.pending)))


def _time(timeout: Timeout) -> float:
    return timeout.at
