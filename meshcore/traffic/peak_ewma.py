"""The load of an instance as its clients see it: a peak-sensitive average latency, times the calls in flight.

The average is Finagle's `PeakEwma` with a gentler rise. It rises fast, within a few calls, and falls slowly with time,
even while the instance gets no calls. A failure counts at once.
"""

from __future__ import annotations

from math import exp, inf

from meshcore.traffic.outcome import Outcome

DECAY = 2.0
"""Seconds in which an old latency loses 63 % of its weight.

Finagle and Linkerd have 10, which is long where calls take milliseconds. After one failure, which counts as 1 s, an
instance beside others of 3 ms gets no call for `DECAY * log(1 / 0.003 / 1.25)`: 11 s with 2, 56 s with 10. An instance
that stays ten times as slow as the others is asked again every 4 s: less than one call in a hundred, from 25 calls per
second on.
"""

RISE = 0.25
"""The part of the difference by which the average rises towards a higher latency. Finagle's is 1. With a hundred calls
per second, the average of a healthy instance is then its slowest call of the last seconds, and the choice is random. In
the simulation (`python -m benchmarks.simulation`) at 80 % load, 0.25 lowers a healthy fleet's 99th percentile by 3 %,
and the 99.9th by a quarter if one instance is 10 times slower. 0.1 and 0.3 gave the same."""

MIN_FAILED = 1.0
"""Seconds. A failed call counts as at least this long: failing fast must not look fast (Linkerd: 5 s)."""

MIN_REFUSED = 0.1
"""Seconds. A refused call counts as at least this long, so that the instance gets fewer calls. The time is short, as
all instances may refuse calls and one must still be chosen."""

GIVEN_UP_FACTOR = 3.0
"""The latency of a call that was given up counts this many times, as the call would have taken longer. Without that,
hedging would hide slow instances: one that is ten times slower than the others would look only as slow as a hedge's
delay. In the simulation, 3 lowers its share of the calls as far as 5 did, and 2 half as far (with a `DECAY` of 10)."""

UNKNOWN = 1e6
"""The load of a new instance while it serves its first call. It gets the next call when that has ended."""

_LEAST_SHARE = 0.1  # of its calls, at the start of a new instance; Envoy's


class Load:
    """The load of one instance.

    Args:
        weight: its capacity, relative to that of the others.
        born: when it was first seen, -inf if it needs no slow start.
        slow_start: seconds in which its share grows to its full size.
    """

    __slots__ = ("_born", "_cost", "_slow_start", "_stamp", "pending", "weight")

    def __init__(self, weight: int = 1, born: float = -inf, slow_start: float = 0.0) -> None:
        self.weight = weight
        self.pending = 0
        self._born = born
        self._slow_start = slow_start
        self._cost = 0.0
        self._stamp = -inf

    def cost(self, now: float) -> float:
        """The average latency in seconds, 0 if no call has ended yet."""
        age = now - self._stamp
        return self._cost * exp(-age / DECAY) if age > 0 and self._cost else self._cost

    def value(self, now: float) -> float:
        """The load. The weight counts only for an instance with calls in flight: idle ones are equal."""
        cost = self.cost(now)
        if not cost:
            value = UNKNOWN + self.pending if self.pending else 0.0
        else:
            value = cost * (self.pending / self.weight + 1.0)
        age = now - self._born
        return value if age >= self._slow_start else value / self.ramp(now)

    def ramp(self, now: float) -> float:
        """The part of its full share of calls that a new instance gets."""
        age = now - self._born
        return 1.0 if age >= self._slow_start else max(_LEAST_SHARE, age / self._slow_start)

    def end(self, outcome: Outcome, seconds: float, now: float) -> None:
        """Record a call that has ended."""
        if self.pending:  # 0 if the instance left and came back since the call began
            self.pending -= 1
        if outcome is Outcome.SUCCEEDED:
            self._observe(seconds, now, RISE)
        elif outcome is Outcome.FAILED:
            self._observe(max(seconds, MIN_FAILED), now)
        elif outcome is Outcome.REFUSED:
            self._observe(max(seconds, MIN_REFUSED), now)
        elif seconds * GIVEN_UP_FACTOR > self.cost(now):
            self._observe(seconds * GIVEN_UP_FACTOR, now, RISE)

    def _observe(self, seconds: float, now: float, rise: float = 1.0) -> None:
        if seconds >= self._cost:
            self._cost += (seconds - self._cost) * (rise if self._cost else 1.0)
        else:
            weight = exp(-max(0.0, now - self._stamp) / DECAY)
            self._cost = seconds + (self._cost - seconds) * weight
        self._stamp = now
