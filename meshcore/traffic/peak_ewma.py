"""How loaded an instance looks from here: its peak-sensitive average latency times the calls that it has in hand.

The average is Finagle's `PeakEwma` with a gentler rise: it goes up fast and comes down slowly, so that a slow instance
is noticed within a few calls and trusted again with time, also when it gets no calls at all. A failure counts at once.
"""

from __future__ import annotations

from math import exp, inf

from meshcore.traffic.outcome import Outcome

DECAY = 2.0
"""Seconds in which an old latency loses 63 % of its weight.

Finagle and Linkerd have 10, which is long where calls take milliseconds. An instance gets no call before its latency
has come down to that of the others: after one failure, which counts as a second, beside others of 3 ms that is
`DECAY * log(1 / 0.003 / 1.25)`, 11 s with 2 and 56 s with 10. An instance that stays ten times as slow as the others is
asked again every 4 s: from 25 calls per second on that is less than one in a hundred.
"""

RISE = 0.25
"""How far the average goes towards a latency above it. Finagle's goes all the way; but then, with a hundred calls a
second, the averages of healthy instances are the slowest call of each within the last seconds, and choosing by them is
choosing by chance. In the simulation (`python -m benchmarks.simulation`) at 80 % load it takes 3 % from a healthy
fleet's 99th percentile and a quarter from the 99.9th with one instance 10 times slower; 0.1 and 0.3 did the same."""

FAILED_LOOKS = 1.0
"""Seconds that a failed call counts for at least: an instance that fails fast must not look fast (Linkerd: 5 s)."""

REFUSED_LOOKS = 0.1
"""Seconds that a refused call counts for at least: it should rest, but all may refuse, and one is still to be asked."""

GIVEN_UP_LOOKS = 3.0
"""A call that was given up counts for so many times as long as it ran. It would have taken longer, nobody knows by how
much, and taking the time itself for it lets hedging hide what it hedges: an instance ten times slower than the others
looks no slower than the delay of a hedge, which is what the slowest calls of the others take. In the simulation 3
brings its share of the calls down as far as 5 did, and 2 half as far (with a `DECAY` of 10)."""

UNKNOWN = 1e6
"""The load of an instance that has not answered yet but has a call: it gets the next one when it has answered."""

_LEAST_SHARE = 0.1  # of its calls, at the very start of a new instance; Envoy's


class Load:
    """The load of one instance.

    Args:
        weight: its capacity, relative to the others'.
        born: when it came, -inf if it was there from the start.
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
        """Seconds that a call takes there, 0 if none has ended yet."""
        age = now - self._stamp
        return self._cost * exp(-age / DECAY) if age > 0 and self._cost else self._cost

    def value(self, now: float) -> float:
        """The load. Without calls in hand the weight makes no difference: an idle instance is an idle instance."""
        cost = self.cost(now)
        if not cost:
            value = UNKNOWN + self.pending if self.pending else 0.0
        else:
            value = cost * (self.pending / self.weight + 1.0)
        age = now - self._born
        return value if age >= self._slow_start else value / self.ramp(now)

    def ramp(self, now: float) -> float:
        """The part of its full share that a new instance gets."""
        age = now - self._born
        return 1.0 if age >= self._slow_start else max(_LEAST_SHARE, age / self._slow_start)

    def end(self, outcome: Outcome, seconds: float, now: float) -> None:
        """A call has ended after so long."""
        if self.pending:  # else it began before this instance left and came back
            self.pending -= 1
        if outcome is Outcome.SUCCEEDED:
            self._observe(seconds, now, RISE)
        elif outcome is Outcome.FAILED:
            self._observe(max(seconds, FAILED_LOOKS), now)
        elif outcome is Outcome.REFUSED:
            self._observe(max(seconds, REFUSED_LOOKS), now)
        elif seconds * GIVEN_UP_LOOKS > self.cost(now):
            self._observe(seconds * GIVEN_UP_LOOKS, now, RISE)

    def _observe(self, seconds: float, now: float, rise: float = 1.0) -> None:
        if seconds >= self._cost:
            self._cost += (seconds - self._cost) * (rise if self._cost else 1.0)
        else:
            weight = exp(-max(0.0, now - self._stamp) / DECAY)
            self._cost = seconds + (self._cost - seconds) * weight
        self._stamp = now
