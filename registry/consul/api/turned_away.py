"""Whether an agent seems to turn us away because this machine has too many connections to it: a pure machine."""

from __future__ import annotations

QUICK = 0.5
"""Seconds. An agent over its limit closes at once; one that ends closes what has been open for longer, mostly."""

TIMES, APART, WITHIN = 3, 0.2, 10.0
"""So many new connections closed unanswered, and none answered, are no accident if the first and the last are at least
and at most so many seconds apart. All at one instant are an agent that has just ended."""


class TurnedAway:
    """Tells when it is to be said, which is once."""

    def __init__(self) -> None:
        self._closed: list[float] = []
        self._said = False

    def closed(self, now: float, after: float) -> bool:
        """A new connection was closed without an answer so long after it was asked for; whether to say it now."""
        if after > QUICK:
            return False
        self._closed = [*(each for each in self._closed if now - each < WITHIN), now]
        return len(self._closed) >= TIMES and now - self._closed[0] >= APART and self.told()

    def told(self) -> bool:
        """The agent said so itself, as newer ones do; whether to say it now."""
        say, self._said = not self._said, True
        return say

    def forget(self) -> None:
        """A new connection is answered, or nobody listens since the agent has ended: what was closed says nothing."""
        self._closed = []
