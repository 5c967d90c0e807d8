"""The index of a blocking query that only tells that something changed: a pure machine.

Its rules are those of `ConsulWatch`. It keeps no entries, so it holds for any path: what
the answer says is for the owner to compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.consul_watch import BACKOFF_FIRST, BACKOFF_MAX, GAP, REFUSED, WAIT, WAIT_FIRST, Query

if TYPE_CHECKING:
    import random


class Cursor:
    """Call `query`, ask, and tell the outcome by `answered` or `failed`; over and over.

    Attributes:
        index: what the next query blocks on; 0 for one that does not block.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.index = 0
        self._begun = float("-inf")
        self._not_before = float("-inf")
        self._errors = 0  # in a row
        self._wait = WAIT_FIRST

    def query(self, now: float) -> Query:
        """What to ask next."""
        self._begun = at = max(now, self._begun + GAP + self._rng.uniform(0.0, GAP), self._not_before)
        if not self.index:
            return Query(at, 0, 0.0, 10.0)
        return Query(at, self.index, self._wait, self._wait * 17 / 16 + 5.0)

    def answered(self, index: int) -> bool:
        """An answer with status 200 came; whether it is to be used. If not, it is asked for again without blocking."""
        self._errors, self._not_before = 0, float("-inf")
        if index < self.index:
            self.index, self._wait = 0, WAIT_FIRST
            return False
        self._wait = min(2.0 * self._wait, WAIT) if index == self.index else WAIT_FIRST
        self.index = max(index, 1)
        return True

    def failed(self, now: float, *, refused: bool = False) -> None:
        """No answer came, or none with status 200; `refused` if time alone will not heal it."""
        self.index, self._wait = 0, WAIT_FIRST
        if refused:
            self._not_before = now + self._rng.uniform(0.9, 1.0) * REFUSED
            return
        self._not_before = now + self._rng.uniform(0.0, min(BACKOFF_MAX, BACKOFF_FIRST * 2.0 ** min(self._errors, 16)))
        self._errors += 1
