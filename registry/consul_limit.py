"""Whether an agent seems to turn us away because this machine has too many connections to it: a pure machine."""

from __future__ import annotations

QUICK = 0.5
"""Seconds. An agent over its limit closes at once; one that ends closes what has been open for longer, mostly."""

TIMES, WITHIN = 3, 10.0
"""So many connections closed unanswered, in so many seconds, while the agent is there, are no accident."""


class TurnedAway:
    """Tells when it is to be said, which is once."""

    def __init__(self) -> None:
        self._closed: list[float] = []
        self._said = False

    def closed(self, now: float, after: float) -> bool:
        """A connection was closed without an answer so long after it was asked for; whether to say it now."""
        if after > QUICK:
            return False
        self._closed = [*(each for each in self._closed if now - each < WITHIN), now]
        return len(self._closed) >= TIMES and self.told()

    def told(self) -> bool:
        """The agent said so itself, as newer ones do; whether to say it now."""
        say, self._said = not self._said, True
        return say

    def gone(self) -> None:
        """Nobody listens: the agent has ended, and what it closed before says nothing."""
        self._closed = []
