"""What a blocking query asks next, whatever its path: a pure machine. Its shell does the I/O.

A blocking query gives the index of the last answer and returns when something is newer, or when its wait ends. Around
that simple idea lies what goes wrong: servers that forget (the index falls), that answer with an error and an index
that must not be used, or that never answer. What the answers say is for the owner to believe or not.

The rules are those of Consul's page on blocking queries, of consul-template's `watch/view.go`, and of measurements
with a real agent. Times are seconds, and arguments.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import random

WAIT = 30.0
"""How long a query is held. Not Consul's five minutes: an index above the server's blocks for the whole wait."""

WAIT_FIRST = 2.0
"""How long the first query after news is held; each quiet one doubles it. An agent that restarts between two queries
breaks no connection, and if its index is near the old one nothing shows it: then this is how long a watch is blind."""

GAP = 0.05
"""Between the starts of two queries, and up to as much again by chance: a storm of changes is read in few answers."""

AT_ONCE = 3
"""Queries for which that is not so after a quiet time: a change that follows another is seen as soon as the first."""

BACKOFF_FIRST, BACKOFF_MAX = 0.1, 5.0
"""The pause after an error is a random part of a bound that doubles from the first to the last of these."""

REFUSED = 30.0
"""The pause after an error that time alone does not heal, such as a token that is not allowed to read."""


class Query(msgspec.Struct, frozen=True):
    """What to ask: not before `at`, blocking on `index` for `wait` unless it is 0, given up after `timeout`."""

    at: float
    index: int
    wait: float
    timeout: float


class Cursor:
    """Call `query`, ask, and tell the outcome by `answered` or `failed`; over and over.

    Attributes:
        index: what the next query blocks on; 0 for one that does not block.
        not_before: nothing is asked before, whatever happens: the end of the pause after an error.
        doubtful: whether what is missing in the last answer may only be unknown to a server that has restarted: the
            answer is the first after an error or a fallen index, or its index is the one that was asked for.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.index = 0
        self.not_before = -inf
        self.doubtful = False
        self._free = -inf  # from when on nothing is left of what earlier queries took of the allowance
        self._errors = 0  # in a row
        self._asked = 0  # the index of the last query
        self._wait = WAIT_FIRST
        self._reset = False

    def query(self, now: float, end: float = inf) -> Query:
        """What to ask next.

        Args:
            now: the time.
            end: when it is to be asked again at the latest; to the second is good enough.
        """
        at = max(now, self._free - AT_ONCE * GAP, self.not_before)
        self._free = max(self._free, at) + GAP + self._rng.uniform(0.0, GAP)
        self._asked = self.index
        if not self.index:
            return Query(at, 0, 0.0, 10.0)
        wait = min(self._wait, max(1.0, end - at))
        # Consul itself adds up to a sixteenth. A frozen agent never answers: only this ends the query then.
        return Query(at, self.index, wait, wait * 17 / 16 + 5.0)

    def answered(self, index: int) -> bool:
        """An answer with status 200 came, with this X-Consul-Index; whether it is to be used."""
        self._errors, self.not_before = 0, -inf
        if index < self.index:
            # Another server, or one that forgot. Its answer is right perhaps, but not for this query.
            self.index, self._wait, self._reset = 0, WAIT_FIRST, True
            return False
        self._wait = min(2.0 * self._wait, WAIT) if index == self.index else WAIT_FIRST
        self.index = max(index, 1)
        # Without a change the index stays. If only the index has, it is another server's.
        self.doubtful, self._reset = self._reset or self.index == self._asked, False
        return True

    def failed(self, now: float, *, refused: bool = False) -> None:
        """No answer came, or none with status 200; an index that came with it means nothing.

        Args:
            now: the time.
            refused: time alone will not heal it.
        """
        self.index, self._wait, self._reset = 0, WAIT_FIRST, True
        if refused:
            self.not_before = now + self._rng.uniform(0.9, 1.0) * REFUSED
            return
        self.not_before = now + pause_after(self._errors, self._rng)
        self._errors += 1


def pause_after(errors: int, rng: random.Random) -> float:
    """The pause after an error that so many others came before, with full jitter."""
    return rng.uniform(0.0, min(BACKOFF_MAX, BACKOFF_FIRST * 2.0 ** min(errors, 16)))
