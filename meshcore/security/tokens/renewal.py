"""Decides when something that expires is fetched again. It is pure: the time and the chance are arguments."""

from __future__ import annotations

from math import inf
from random import Random

_AHEAD = (0.7, 0.9)
"""The part of its life after which something is fetched again. It varies, so that a fleet does not do it at once."""
_PAUSE = 1.0
"""Seconds between two fetches, however short the life is that the endpoint gives."""


class Renewal:
    """When to fetch, and how long what was fetched may be used.

    All times are seconds on one monotonic clock.

    Args:
        rng: the source of chance.
        first: seconds to wait after the first failure. They double with each further one.
        longest: seconds to wait at most.
        interval: seconds between two fetches that are asked for before they are due.
    """

    def __init__(self, rng: Random, *, first: float = 1.0, longest: float = 60.0, interval: float = 10.0) -> None:
        self._rng = rng
        self._first, self._longest, self._interval = first, longest, interval
        self._ends = self._refresh = self._not_before = self._ask_not_before = -inf
        self._failures = 0

    def is_usable(self, now: float) -> bool:
        """Whether what was fetched may still be used."""
        return now < self._ends

    def is_due(self, now: float) -> bool:
        """Whether to fetch now."""
        return now >= self._refresh and now >= self._not_before

    def usable_for(self, now: float) -> float:
        """Seconds for which what was fetched may still be used, 0 if it may not."""
        return max(self._ends - now, 0.0)

    def succeeded(self, now: float, life: float, grace: float = 0.0) -> None:
        """It was fetched.

        Args:
            now: the time.
            life: seconds until it should have been replaced.
            grace: seconds after that for which it may be used, if it cannot be fetched again.
        """
        self._failures = 0
        self._ends = now + life + grace
        self._refresh = now + life * self._rng.uniform(*_AHEAD)
        self._not_before = now + min(_PAUSE, self._first)

    def failed(self, now: float) -> None:
        """It could not be fetched."""
        # The power is bounded: a large one is no float any more.
        pause = min(self._first * 2.0 ** min(self._failures, 64), self._longest)
        self._failures += 1
        self._not_before = now + pause * self._rng.uniform(0.5, 1.0)

    def ask(self, now: float) -> bool:
        """Ask for a fetch before it is due. Returns whether to fetch now; too many are refused."""
        if now < self._ask_not_before or (self._failures and now < self._not_before):
            return False
        self._ask_not_before = now + self._interval
        return True
