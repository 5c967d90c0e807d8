"""The state of a blocking query: the index, the wait and the time of its next request. Does no I/O.

A blocking query sends the index of the last answer. Consul answers when something is newer, or when the wait ends. A
server that has lost its state answers with a lower index. An error may carry an index that means nothing. A frozen
agent never answers. What the content of an answer means is decided by `service_watch` and `key_watch`.

The rules are those of Consul's page on blocking queries, of consul-template's `watch/view.go`, and of measurements
with a real agent. Times are seconds.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import random

WAIT = 30.0
"""The longest wait. Shorter than Consul's default of five minutes: a query with an index above the server's blocks for
the whole wait."""

WAIT_FIRST = 2.0
"""The wait after a change. Each answer without a change doubles it, up to WAIT. An agent that restarts between two
queries breaks no connection, and if its index is near the old one, nothing shows the restart. Changes then go unseen
for the rest of this wait."""

GAP = 0.05
"""Least time between the starts of two queries, with up to as much again of jitter. It bundles a burst of changes into
few answers."""

BURST = 3
"""Queries that may start without the gap after a quiet time: the second change is seen as soon as the first."""

BACKOFF_FIRST, BACKOFF_MAX = 0.1, 5.0
"""Bounds of the backoff after an error. The bound doubles from the first to the last; the backoff has full jitter."""

BACKOFF_PERMANENT = 30.0
"""The backoff after an error that retries do not mend, such as a token without the right to read."""


class Query(msgspec.Struct, frozen=True):
    """One request.

    Attributes:
        at: when to send it.
        index: the index to block on; 0 to get an answer at once.
        wait: how long Consul may hold it.
        timeout: when to give it up.
    """

    at: float
    index: int
    wait: float
    timeout: float


class BlockingQuery:
    """Call `query`, send the request, report its outcome to `answered` or `failed`, and repeat.

    Attributes:
        index: the index of the next request; 0 to get an answer at once.
        not_before: the end of the backoff after an error.
        doubtful: whether something that the last answer lacks may still exist. That is so for the first answer after an
            error or a lower index, and for an answer with the index that was sent.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.index = 0
        self.not_before = -inf
        self.doubtful = False
        self._burst_full_at = -inf  # when the whole burst is available again
        self._errors = 0  # in a row
        self._sent_index = 0
        self._wait = WAIT_FIRST
        self._reset = False

    def query(self, now: float, end: float = inf) -> Query:
        """Return the next request.

        Args:
            now: the time.
            end: when its answer is needed at the latest, to about a second.
        """
        at = max(now, self._burst_full_at - BURST * GAP, self.not_before)
        self._burst_full_at = max(self._burst_full_at, at) + GAP + self._rng.uniform(0.0, GAP)
        self._sent_index = self.index
        if not self.index:
            return Query(at, 0, 0.0, 10.0)
        wait = min(self._wait, max(1.0, end - at))
        # Consul adds up to a sixteenth to the wait. A frozen agent never answers: only the timeout ends the query then.
        return Query(at, self.index, wait, wait * 17 / 16 + 5.0)

    def answered(self, index: int) -> bool:
        """Report an answer with status 200 and this X-Consul-Index.

        Returns:
            Whether to use the answer.
        """
        self._errors, self.not_before = 0, -inf
        if index < self.index:
            # From another server, or from one that lost its state. The query starts again without an index.
            self.index, self._wait, self._reset = 0, WAIT_FIRST, True
            return False
        self._wait = min(2.0 * self._wait, WAIT) if index == self.index else WAIT_FIRST
        self.index = max(index, 1)
        # Without a change the index stays. Other content under the same index comes from another server.
        self.doubtful, self._reset = self._reset or self.index == self._sent_index, False
        return True

    def failed(self, now: float, *, permanent: bool = False) -> None:
        """Report that no answer came, or one with another status than 200. Its index means nothing.

        Args:
            now: the time.
            permanent: retries will not mend the error.
        """
        self.index, self._wait, self._reset = 0, WAIT_FIRST, True
        if permanent:
            self.not_before = now + self._rng.uniform(0.9, 1.0) * BACKOFF_PERMANENT
            return
        self.not_before = now + backoff(self._errors, self._rng)
        self._errors += 1


def backoff(errors: int, rng: random.Random) -> float:
    """Return the backoff after an error that follows so many others, with full jitter."""
    return rng.uniform(0.0, min(BACKOFF_MAX, BACKOFF_FIRST * 2.0 ** min(errors, 16)))
