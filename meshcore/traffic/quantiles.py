"""Quantiles of the recent latencies of a method. They decide when a call counts as slow and is hedged."""

from __future__ import annotations

from math import log

_REFRESH = 3.0
"""Seconds for which a computed quantile is used; Finagle's."""

_MIN_CALLS = 50
"""With fewer calls there is no quantile."""

_TYPICAL, _TYPICAL_REFRESH = 0.5, 0.25
"""The quantile that tells what is typical after a few calls, and for how many seconds it is used. The very first calls
are slower than all that follow, so it is the median."""

_SHORTEST = 1e-5  # seconds; the upper bound of the first bucket
_STEPS = 1 / log(1.1)  # each bucket is 10 % wider than the one before
_BUCKETS = int(log(1000 / _SHORTEST) * _STEPS) + 1


class Latency:
    """The distribution of one method's latencies, in buckets of 10 %, over the last two to three refreshes.

    Attributes:
        until: the time until which `quantile` gives the same answers.
    """

    def __init__(self) -> None:
        self._now = [0] * _BUCKETS
        self._before = [0] * _BUCKETS
        self.until = 0.0
        self._quantiles: dict[float, float | None] = {}
        self._typical: float | None = None
        self._median_until = 0.0

    def observe(self, seconds: float) -> None:
        """Record the latency of a call."""
        at = int(log(seconds / _SHORTEST) * _STEPS) if seconds > _SHORTEST else 0
        self._now[at if at < _BUCKETS else -1] += 1

    def quantile(self, share: float, now: float) -> float | None:
        """Seconds within which that share of the calls ended, None if there were too few calls."""
        if now >= self.until:
            self.until = now + _REFRESH
            counts = [new + old for new, old in zip(self._now, self._before, strict=True)]
            if sum(self._now) >= _MIN_CALLS:  # otherwise keep collecting
                self._before, self._now = self._now, [0] * _BUCKETS
            self._counts, self._total = counts, sum(counts)
            self._quantiles = {}
        if share not in self._quantiles:
            self._quantiles[share] = self._compute(share)
        return self._quantiles[share]

    def typical(self, now: float) -> float | None:
        """Seconds of a typical call, however few there were; None if there were none."""
        if now >= self._median_until:
            self._median_until = now + _TYPICAL_REFRESH
            counts = [new + old for new, old in zip(self._now, self._before, strict=True)]
            total = sum(counts)
            self._typical = _upper_bound(counts, _TYPICAL * total) if total else None
        return self._typical

    @property
    def typical_until(self) -> float:
        """The time until which `typical` and `quantile` give the same answers."""
        return min(self.until, self._median_until)

    def _compute(self, share: float) -> float | None:
        if self._total < _MIN_CALLS:
            return None
        return _upper_bound(self._counts, share * self._total)


def _upper_bound(counts: list[int], least: float) -> float | None:
    """The latency below which there are at least so many."""
    below = 0
    for at, count in enumerate(counts):
        below += count
        if below >= least:
            return _SHORTEST * 1.1 ** (at + 1)
    return None
