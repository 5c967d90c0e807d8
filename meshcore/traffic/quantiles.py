"""Latencies of the last seconds, for the question how long one should wait before a call counts as slow."""

from __future__ import annotations

from math import log

_REFRESH = 3.0
"""Seconds after which a quantile is worked out anew; Finagle's."""

_LEAST = 50
"""Calls below which a quantile says nothing."""

_SHORTEST = 1e-5
_STEPS = 1 / log(1.1)  # each bucket is 10 % wider than the one before
_BUCKETS = int(log(1000 / _SHORTEST) * _STEPS) + 1


class Latency:
    """The distribution of one method's latencies, in buckets of 10 %, over the last two to three refreshes."""

    def __init__(self) -> None:
        self._now = [0] * _BUCKETS
        self._before = [0] * _BUCKETS
        self._until = 0.0
        self._quantiles: dict[float, float | None] = {}

    def observe(self, seconds: float) -> None:
        """A call took so long."""
        at = int(log(seconds / _SHORTEST) * _STEPS) if seconds > _SHORTEST else 0
        self._now[min(at, _BUCKETS - 1)] += 1

    def quantile(self, share: float, now: float) -> float | None:
        """Seconds within which that share of the calls ended, None if there were too few to say."""
        if now >= self._until:
            self._until = now + _REFRESH
            counts = [new + old for new, old in zip(self._now, self._before, strict=True)]
            if sum(self._now) >= _LEAST:  # else it goes on collecting
                self._before, self._now = self._now, [0] * _BUCKETS
            self._counts, self._total = counts, sum(counts)
            self._quantiles = {}
        if share not in self._quantiles:
            self._quantiles[share] = self._worked_out(share)
        return self._quantiles[share]

    def _worked_out(self, share: float) -> float | None:
        if self._total < _LEAST:
            return None
        below = 0
        for at, count in enumerate(self._counts):
            below += count
            if below >= share * self._total:
                return _SHORTEST * 1.1 ** (at + 1)
        return None
