"""An adaptive limit of what a server takes on, from how long its calls take and how late its event loop is.

After Netflix's Gradient2 and Envoy's adaptive concurrency filter: the limit is multiplied by the ratio of the usual
latency to the present one, and grows back by its square root. Differences, and why:

- Each method has a usual latency of its own, and a sample is the ratio to that: more slow calls are no overload.
- What is cut is the number of calls that were in flight, not a limit that nobody had reached: one step is enough.
- If fewer calls are about as slow as before, they do not wait for each other but for somebody else (a database that
  became slow): then that is their usual latency from now on. Envoy finds it out by stopping the traffic each minute.
- An event loop that is late is overloaded, whatever the latencies say: calls wait before anybody measures them. Work
  that never awaits is not in flight when the next call is looked at, so for it calls are counted per turn of the loop.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import exp, inf, sqrt

FLOOR = 4.0
"""The least limit, and how many calls are few: so many are never an overload. Envoy's is 3."""

WINDOW = 0.1
"""Seconds between two looks at the latencies (Envoy's), and the shortest time in which an overload may pass."""

TARGET_LAG = 0.05
"""Seconds that the event loop may be late, or calls on the average: three to ten times what garbage collection and
neighbours cause. Calls of a millisecond that take five are no reason to refuse any (Envoy's headroom)."""

_BURST = 0.5  # seconds that the loop may be late before that counts: 200 calls at once are no overload
_SHORTEST = 1e-6  # seconds; of a usual latency, which is divided by
_SAMPLES = 20  # of a window at least, and of a method before its latency counts; Envoy takes 50
_TOLERANCE = 2.0  # times the usual latency; Gradient2's 1.5 sheds at the noise of a small machine
_USUAL = 1.25  # up to here a window teaches what is usual; one of an overload must not
_OUTLIER = 4.0  # times the usual latency; more counts as that, so that one call says nothing about the others
_LEARNING = 10.0  # seconds in which a new usual latency is learned to two thirds
_STEEPEST = 0.5  # what a step leaves at least (Gradient2)
_FEWER = 0.8  # of the calls in flight: by so much fewer that it must have helped, if it was they


class _Latency:
    """What is known of one method."""

    __slots__ = ("count", "total", "usual")

    def __init__(self) -> None:
        self.usual = 0.0  # seconds; 0 until there are enough samples
        self.total = 0.0
        self.count = 0


class AdaptiveLimit:
    """Decides how many calls run at once. Pure: reads no clock.

    Attributes:
        limit: calls in flight.
        quota: calls that are admitted per turn, that is between two reports of lag; infinite unless the loop is late.
        lag: seconds by which the event loop is late, and not only for once.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = max(float(maximum), 1.0)
        self._floor = min(FLOOR, self._maximum)
        self.limit = self._maximum
        self.quota = inf
        self.lag = 0.0
        self._latencies: dict[Hashable, _Latency] = {}
        # The window.
        self._begun = -inf
        self._ratios = self._slowness = self._late = 0.0
        self._count = 0
        self._peak = 0
        self._episode: tuple[int, float] | None = None  # calls in flight, and how slow, after the first cut
        self._settled = -inf  # when the calls in flight had become as few as the last cut allows
        # The turn.
        self._admitted = 0
        self._turn_peak = 0
        self._late_since = inf
        self._turned = -inf
        self._grown = -inf

    @property
    def retry_after(self) -> float:
        """Seconds after which a call that was not admitted may have better luck."""
        return max(WINDOW, self.lag)

    def admit(self, in_flight: int) -> bool:
        """Whether one more call is taken on."""
        if in_flight > self._turn_peak:  # noqa: PLR1730 - half the cost of max(), and every call pays it
            self._turn_peak = in_flight
        if in_flight >= self.limit or self._admitted >= self.quota:
            return False
        self._admitted += 1
        return True

    def observe(self, key: Hashable, seconds: float, in_flight: int, now: float, *, whole: bool = True) -> None:
        """Take note of a call that ended.

        Args:
            key: its method.
            seconds: how long it took.
            in_flight: how many calls were, with itself.
            now: in seconds.
            whole: whether it ended by itself. One that was stopped tells something only if it was slow already.
        """
        latency = self._latencies.get(key)
        if latency is None:
            latency = self._latencies[key] = _Latency()
        usual = latency.usual
        if not whole and seconds <= usual:
            return
        if in_flight <= self.limit + 1 and self._settled == inf:
            self._settled = now
        if usual and now - seconds < self._settled:
            return  # it began among more calls than there may be now, and says how it was then
        latency.total += seconds
        latency.count += 1
        if not usual:
            if latency.count >= _SAMPLES:
                latency.usual = max(latency.total / latency.count, _SHORTEST)
                latency.total, latency.count = 0.0, 0
            return
        ratio = seconds / usual
        self._late += seconds - usual
        self._slowness += ratio
        self._ratios += ratio if ratio < _OUTLIER else _OUTLIER  # noqa: FURB136 - as above
        self._count += 1
        if in_flight > self._peak:  # noqa: PLR1730 - as above
            self._peak = in_flight
        if self._count >= _SAMPLES and now - self._begun >= WINDOW:
            self._look(now)

    def lagged(self, seconds: float, now: float) -> None:
        """Take note of how late the event loop is; to be called every few hundredths of a second.

        Late reports for a moment are a pause, of garbage collection or of the machine, or a burst that is soon worked
        off; then they are an overload, which goes on with each that follows until the quota has grown back.
        """
        elapsed = now - self._turned
        self._late_since = min(self._late_since, now) if seconds > TARGET_LAG else inf
        self.lag = seconds if self.quota < inf or now - self._late_since >= _BURST else 0.0
        if self.lag > TARGET_LAG:
            # A turn consists of the pause between two reports and of the lag: so much of its work fits the target.
            share = (elapsed - seconds + TARGET_LAG) / elapsed if seconds < elapsed < inf else TARGET_LAG / self.lag
            share = max(_STEEPEST, min(1.0, share))
            if self._admitted > self._turn_peak:
                if self._admitted > self._floor:
                    self.quota = max(self._floor, min(self.quota, self._admitted) * share)
            else:
                self._cut(self._turn_peak, share)
        else:
            self._grow(now)
        self._turned = now
        self._admitted = self._turn_peak = 0

    def _look(self, now: float) -> None:
        """Draw the conclusion from a window."""
        ratio, slowness = self._ratios / self._count, self._slowness / self._count
        if ratio <= _TOLERANCE or self._late <= TARGET_LAG * self._count:
            self._episode = None
            self._learn(1 - exp((self._begun - now) / _LEARNING) if ratio <= _USUAL else 0.0)
            self._grow(now)
        else:
            # The first window of an overload tells of calls from before and in its growth, so the second is compared.
            calls, slow = before = self._episode or (0, 0.0)
            fewer = self._peak / calls if calls else 1.0
            if self._peak <= self._floor or (fewer <= _FEWER and slowness > slow * (1 + fewer) / 2):
                self._episode = None
                self._learn(1.0)
            else:
                self._episode = before if calls or self._episode is None else (self._peak, slowness)
                self._learn(0.0)
                self._cut(self._peak, max(_STEEPEST, _TOLERANCE / ratio))
        self._begun = now
        self._ratios = self._slowness = self._late = 0.0
        self._count = self._peak = 0

    def _grow(self, now: float) -> None:
        """Allow a little more, at most once per window and while nothing is the matter."""
        if now - self._grown < WINDOW or self.lag > TARGET_LAG:
            return
        self._grown = now
        if self._episode is None:
            self.limit = min(self._maximum, self.limit + sqrt(self.limit))
        if self.quota < inf:
            grown = self.quota + sqrt(self.quota)
            self.quota = grown if grown < self._maximum else inf

    def _cut(self, in_flight: int, share: float) -> None:
        """Allow a share of what was in flight, unless it is few, or an earlier cut has not had its effect yet."""
        if in_flight > self._floor and self._settled < inf:
            self.limit = max(self._floor, min(self.limit, in_flight) * share)
            self._settled = inf

    def _learn(self, part: float) -> None:
        """Bring the usual latencies nearer to those of the window, and forget these."""
        for latency in self._latencies.values():
            if latency.usual and latency.count:
                mean = latency.total / latency.count
                latency.usual = max(latency.usual + (mean - latency.usual) * part, _SHORTEST)
                latency.total, latency.count = 0.0, 0
