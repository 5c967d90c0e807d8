"""Detects that an agent closes new connections because this machine has too many. Does no I/O."""

from __future__ import annotations

QUICK = 0.5
"""Seconds. An agent at its limit closes a new connection at once. An agent that stops mostly closes older ones."""

TIMES, APART, WITHIN = 3, 0.2, 10.0
"""The limit is assumed after so many closed connections in a row, if the first and the last are at least and at most so
many seconds apart. Several at one instant come from an agent that stops."""


class ConnectionLimit:
    """Says once when to log the limit: `closed` and `refused` return True then."""

    def __init__(self) -> None:
        self._closed: list[float] = []
        self._logged = False

    def closed(self, now: float, after: float) -> bool:
        """Report that a new connection was closed without an answer, so many seconds after the request."""
        if after > QUICK:
            return False
        self._closed = [*(each for each in self._closed if now - each < WITHIN), now]
        return len(self._closed) >= TIMES and now - self._closed[0] >= APART and self.refused()

    def refused(self) -> bool:
        """Report that the agent answered with status 429, as newer ones do."""
        log, self._logged = not self._logged, True
        return log

    def reset(self) -> None:
        """Report that a new connection was answered, or that nothing listens. Then there is no limit."""
        self._closed = []
