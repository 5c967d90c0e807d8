"""The load of an instance as its clients see it: an average latency, the calls in flight, and a rest after a failure.

The average is Finagle's `PeakEwma` with a gentler rise. It rises within a few slow calls, and falls slowly with time,
even while the instance gets no calls.
"""

from __future__ import annotations

from math import exp, inf

from meshcore.traffic.outcome import Outcome

DECAY = 2.0
"""Seconds in which an old latency loses 63 % of its weight.

Finagle and Linkerd have 10, which is long where calls take milliseconds. An instance that stays ten times as slow as
the others is asked again every 4 s: less than one call in a hundred, from 25 calls per second on.
"""

RISE = 0.25
"""The part of the difference by which the average rises towards a higher latency. Finagle's is 1. With a hundred calls
per second, the average of a healthy instance is then its slowest call of the last seconds, and the choice is random. In
the simulation (`python -m benchmarks.simulation`) at 80 % load, 0.25 lowers a healthy fleet's 99th percentile by 3 %,
and the 99.9th by a quarter if one instance is 10 times slower. 0.1 and 0.3 gave the same."""

FEW = 0.005
"""Seconds. Latencies that differ by less are equal: one call of a busy process or network varies as much."""

_EQUAL_FACTOR = 1.25
"""Latencies, and calls in flight, that differ by less than this factor are equal, too."""

_NOISE_FACTOR = 3.0
"""And so are latencies that differ by less than three times the average deviation of the faster instance."""

FIRST_REST, LONGEST_REST = 0.5, 30.0
"""Seconds without calls after a failure, if there is another instance. They double with each failure in a row. A lost
connection is no reason to leave an instance alone for long; one that fails all its calls must cost few."""

_SILENT, _SILENT_REST = 1.0, 2.0
"""After a failure of an instance that answered nothing for more than the first, it rests for at least the second: that
is time to check whether it hangs. Calls that cannot be repeated would wait there until their deadline."""

MIN_REFUSED = 0.1
"""Seconds. A refused call counts as at least this long, so that the instance gets fewer calls. The time is short, as
all instances may refuse calls and one must still be chosen."""

GIVEN_UP_FACTOR = 3.0
"""The latency of a call that was given up counts this many times, as the call would have taken longer. Without that,
hedging would hide slow instances: one that is ten times slower than the others would look only as slow as a hedge's
delay. In the simulation, 3 lowers its share of the calls as far as 5 did, and 2 half as far (with a `DECAY` of 10)."""

LONG = 0.25
"""Seconds. An instance that has calls in flight and has answered none of them for longer counts as that slow: calls
that are not repeatable end only at their deadline, and an instance that hangs must not get further ones until then."""

_MOST_OWED = 100
"""Calls that an instance makes up for after it yielded turns. With 64 callers and weights from 1 to 5, shares are 2
points off with 8, and 0.5 with 100."""

_OWED, _ABSENT = 8, 0.4
"""Calls that an instance makes up for that was no candidate for so many seconds, since it was ejected."""

_LEAST_SHARE = 0.1  # of its calls, at the start of a new instance; Envoy's

_SUCCEEDED = Outcome.SUCCEEDED


class Load:
    """The load of one instance.

    Args:
        weight: its share of the calls, relative to that of the others. Above 0.
        born: when it was first seen, -inf if it needs no slow start.
        slow_start: seconds in which its share grows to its full size.

    Attributes:
        pending: its calls in flight.
        turn: the calls that it got, each divided by its weight. Of two equal instances, the lower one is next.
        step: how much its last call added to `turn`.
    """

    __slots__ = (
        "_before",
        "_born",
        "_cost",
        "_failed",
        "_failures",
        "_last",
        "_noise",
        "_rests_until",
        "_seen",
        "_since",
        "_slow_start",
        "_stamp",
        "pending",
        "step",
        "turn",
        "weight",
    )

    def __init__(self, weight: int = 1, born: float = -inf, slow_start: float = 0.0) -> None:
        self.weight = weight
        self.pending = 0
        self.turn = 0.0
        self.step = 0.0
        self._born = born
        self._slow_start = slow_start
        self._cost = 0.0
        self._stamp = -inf
        self._noise = 0.0
        self._seen = -inf  # when it was a candidate last
        self._last: float | None = None  # the latest latency
        self._before = 0.0  # the one before
        self._since = -inf  # since when calls are in flight and none is answered
        self._rests_until = -inf
        self._failures = 0
        self._failed = -inf  # when the first of the failures was noticed that count as one

    def cost(self, now: float) -> float:
        """The average latency in seconds, 0 if there is none yet. Calls that are long in flight count, too."""
        cost = self._cost
        if cost and now > self._stamp:
            cost *= exp((self._stamp - now) / DECAY)
        return max(cost, self.silent(now)) if self.pending else cost

    def silent(self, now: float) -> float:
        """Seconds for which it has had calls in flight and answered none of them, 0 if that is not long."""
        silent = now - self._since
        return silent if self.pending and silent > LONG else 0.0

    def value(self, now: float) -> float:
        """The load: latency times calls in flight."""
        return self.cost(now) * (self.pending / self.weight + 1.0)

    def ramp(self, now: float) -> float:
        """The part of its full share of calls that a new instance gets."""
        age = now - self._born
        return 1.0 if age >= self._slow_start else max(_LEAST_SHARE, age / self._slow_start)

    def rests(self, now: float) -> float:
        """Seconds for which it gets no calls, if there is another instance."""
        return max(0.0, self._rests_until - now)

    def unfit(self, now: float) -> bool:
        """Whether it should get no call now: it rests, or its first call, or the first after a rest, is in flight."""
        return now < self._rests_until or (self.pending > 0 and (self._failures > 0 or self._last is None))

    def take(self, now: float) -> None:
        """Count a call against its share: its weight, or less in its slow start."""
        grown = now - self._born >= self._slow_start
        self.step = 1.0 / (self.weight if grown else self.weight * self.ramp(now))
        self.turn += self.step

    def is_slower(self, other: Load, now: float) -> bool:
        """Whether its latency is clearly higher."""
        mine, others = self.cost(now), other.cost(now)
        return mine > others > 0.0 and self._differ(mine, others, other)

    def keep_up(self, other: Load, now: float) -> None:
        """Bound what it is owed, as another one is ahead of it."""
        owed = _MOST_OWED if now - self._seen < _ABSENT else _OWED
        self.turn = max(self.turn, other.turn - other.step - owed * self.step)
        self._seen = other._seen = now

    def pass_over(self, other: Load) -> None:
        """Give up what it is owed, as it cannot take its turn: it would get all calls once it can."""
        self.turn = max(self.turn, other.turn - other.step)

    def yields(self, other: Load, now: float) -> bool:
        """Whether its turn goes to another instance, as it has clearly more load.

        A turn that it yields since it has more calls in flight is made up for later. So chance, which has more calls in
        flight to a light instance now and then, changes no share.
        """
        mine, others = self._cost, other._cost
        if mine > FEW or others > FEW or self.pending or other.pending:
            mine, others = self.cost(now), other.cost(now)
            if mine and others and self._differ(mine, others, other):
                here, there = self.pending / self.weight, other.pending / other.weight
                more = mine * (here + 1.0) > _EQUAL_FACTOR * others * (there + 1.0)
                if more:
                    self.pass_over(other)
                return more
        if not self.pending:
            return False
        # Before this call and with it. With unequal weights, one call more is a large difference to the lighter one.
        before = self.pending * other.weight > other.pending * self.weight
        return before and (self.pending + 1) * other.weight > _EQUAL_FACTOR * (other.pending + 1) * self.weight

    def _differ(self, mine: float, others: float, other: Load) -> bool:
        if mine > others:
            low, difference, noise = others, mine - others, other._noise
        else:
            low, difference, noise = mine, others - mine, self._noise
        return difference > max(FEW, (_EQUAL_FACTOR - 1.0) * low, _NOISE_FACTOR * noise)

    def begin(self, now: float) -> None:
        """Record a call that begins."""
        if not self.pending:
            self._since = now
        self.pending += 1

    def end(self, outcome: Outcome, seconds: float, now: float) -> None:
        """Record a call that has ended.

        Args:
            outcome: of the call.
            seconds: how long it took, without a new connection.
            now: the time.
        """
        if self.pending:  # 0 if the instance left and came back since the call began
            self.pending -= 1
        if outcome is _SUCCEEDED:
            if self._failures:
                if now - seconds >= self._failed:  # a probe that was sent during the rest
                    self._rests_until = -inf
                self._failures = 0
            self._since = now
            self._observe(seconds, now)
        elif outcome is Outcome.REFUSED:
            self._since = now
            self._observe(max(seconds, MIN_REFUSED), now)
            if seconds > LONG:  # it asked for a pause: a refusal takes no time
                self._rests_until = max(self._rests_until, now + seconds)
        elif outcome is Outcome.FAILED:
            self._fail(seconds, now)
        else:
            if seconds > LONG and now - self._since > LONG:  # it answered nothing meanwhile: it hangs, perhaps
                self._rests_until = max(self._rests_until, now + FIRST_REST)
            if seconds * GIVEN_UP_FACTOR > self.cost(now):
                self._observe(seconds * GIVEN_UP_FACTOR, now)

    def _fail(self, seconds: float, now: float) -> None:
        # Calls that were in flight together fail for one reason, so they count once.
        if not self._failures or now - seconds >= self._failed:
            self._failures += 1
            self._failed = now
        rest = min(FIRST_REST * 2.0 ** (self._failures - 1), LONGEST_REST)
        if now - self._since > _SILENT:
            rest = max(rest, _SILENT_REST)
        self._rests_until = max(self._rests_until, self._failed + rest)
        if seconds > self.cost(now):
            self._observe(seconds, now)

    def _observe(self, seconds: float, now: float) -> None:
        """Average a latency.

        The lowest of it and the two before counts: one or two slow calls are chance, three are none. So the first call
        of an instance counts for nothing: it finds caches empty.
        """
        last, before = self._last, self._before
        self._last = seconds
        if last is None:
            self._before = seconds
            return
        self._before = last
        cost = self._cost
        low = seconds if seconds < last else last  # noqa: FURB136 - min() takes 0.1 us more
        low = low if low < before else before  # noqa: FURB136 - as above
        noise = self._noise
        self._noise = noise + RISE * (abs(seconds - (cost or low)) - noise)
        if not cost:
            self._cost = low
        elif low >= cost:
            self._cost = cost + (low - cost) * RISE
        else:
            stamp = self._stamp
            self._cost = low + (cost - low) * (exp((stamp - now) / DECAY) if stamp < now else 1.0)
        self._stamp = now
