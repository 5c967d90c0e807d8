"""Decides when the checks of all services are read, and which services have other checks than before. Does no I/O."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from .blocking_query import BACKOFF_MAX

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from ..api.types import CheckRow

COST, SHARE, BURST = 10e-6, 0.2, 0.5
"""A check that is read takes COST seconds of processor time, most of it the agent's. Reads are free until that comes to
BURST seconds, and then so rare that they take this SHARE of a core. The duration of a read is no measure for its cost:
on a busy machine it is long, and rarer reads would only make the data older."""


class Checks:
    """Call `begin` when `due` has come, read all checks, and report the outcome to `answered` or `failed`.

    Attributes:
        index: of the last answer.
        known: whether there is a last answer to compare with, or a failure that stands for one.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.index = 0
        self.known = False
        self._digests: dict[str, int] = {}  # of the checks of each service
        self._requested = -inf  # when a read is wanted; infinity if none is
        self._reading = False
        self._not_before = -inf  # the end of the backoff
        self._spent, self._spent_at = 0.0, 0.0  # processor time, at a time

    def restart(self, now: float) -> None:
        """Forget the last answer, and request a new one."""
        self.known, self._digests = False, {}
        self._requested, self._not_before = now, -inf

    def request(self, at: float) -> None:
        """Request a read at this time at the latest."""
        self._requested = min(self._requested, at)

    def due(self, now: float) -> float:
        """Return when to read; infinity if not until the next request or outcome."""
        if self._reading:
            return inf
        spent = self._spent_by(now)
        affordable = now + (spent - BURST) / SHARE if spent > BURST else now
        return max(self._requested, affordable, self._not_before)

    def begin(self) -> None:
        """Report that a read begins."""
        self._requested, self._reading = inf, True

    def answered(self, rows: Sequence[CheckRow], now: float, index: int, catalog_index: int) -> list[str] | None:
        """Report the checks that were read.

        Args:
            rows: the checks.
            now: the time.
            index: X-Consul-Index.
            catalog_index: that of the last answer of the catalog.

        Returns:
            The services whose set of checks has changed; None if there was nothing to compare with.
        """
        self._reading = False
        self._spent, self._spent_at = self._spent_by(now) + COST * len(rows), now
        # Of the creation of each check, not of its last change, which the queries for unhealthy checks report. A sum,
        # since the order of the rows means nothing.
        digests: dict[str, int] = {}
        for row in rows:
            digests[row.service] = digests.get(row.service, 0) + hash((row.node, row.check_id, row.made))
        before, known = self._digests, self.known
        self._digests, self.known, self.index = digests, True, index
        if index >= catalog_index:
            self._requested = inf  # the answer has what the catalog reported during the read
        if not known:
            return None
        return [name for name in before.keys() | digests.keys() if before.get(name) != digests.get(name)]

    def failed(self, now: float) -> None:
        """Report that the checks could not be read. They are read again after a backoff."""
        self._reading = False
        self._requested = now
        self._not_before = now + self._rng.uniform(0.5, 1.0) * BACKOFF_MAX
        self.known = True

    def _spent_by(self, now: float) -> float:
        return max(0.0, self._spent - SHARE * (now - self._spent_at))
