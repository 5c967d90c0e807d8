"""An adaptive limit of a server's concurrent calls, from their latency and the lag of the event loop.

Follows Netflix's Gradient2 and Envoy's adaptive concurrency filter: the limit is multiplied by the ratio of the usual
latency to the current one, and grows back by its square root. Differences, with reasons:

- Each method has its own usual latency. A sample is the ratio to it, so more calls of slow methods are no overload.
- A cut starts from the number of calls in flight, not from the limit, which may never have been reached. So one step
  is enough.
- If fewer calls are about as slow as before, they do not wait for each other but for something else, such as a slow
  database. Then the current latency becomes the usual one. Envoy finds this out by lowering the limit regularly.
- Lag of the event loop means overload, whatever the latencies are: calls wait before their latency is measured. A call
  that never awaits has ended before the next one is admitted, so such calls are counted per turn of the loop.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import exp, inf, sqrt

FLOOR = 4.0
"""The lowest limit. So few calls are never an overload. Envoy's is 3."""

WINDOW = 0.1
"""Seconds between two evaluations of the latencies (Envoy's), and the shortest pause that refused callers are told."""

TARGET_LAG = 0.05
"""Seconds of lag, or of added latency on average, that are accepted: three to ten times what garbage collection and
other processes cause. Calls of 1 ms that take 5 are no reason to refuse any (Envoy's headroom)."""

_BURST = 0.5  # seconds of lag that are accepted as a burst: 200 calls at once are no overload
_SHORTEST = 1e-6  # seconds; the least usual latency, since ratios are divided by it
_SAMPLES = 20  # the least number for a window, and for a method's first usual latency; Envoy takes 50
_TOLERANCE = 2.0  # times the usual latency; with Gradient2's 1.5 the noise of a small machine refuses calls
_USUAL = 1.25  # times the usual latency; slower windows do not change it, as they may be an overload
_OUTLIER = 4.0  # times the usual latency; higher ratios count as this, so that one call cannot decide
_LEARNING = 10.0  # seconds in which a new usual latency is learned to two thirds
_STEEPEST = 0.5  # the largest cut in one step (Gradient2)
_FEWER = 0.8  # when a cut has reduced the calls in flight to this share, they must be faster if they were the cause


class _Latency:
    """The latency of one method."""

    __slots__ = ("count", "total", "usual")

    def __init__(self) -> None:
        self.usual = 0.0  # seconds; 0 until there are enough samples
        self.total = 0.0
        self.count = 0


class AdaptiveLimit:
    """Decides how many calls may run at once. Pure: reads no clock.

    Attributes:
        limit: the highest number of calls in flight.
        quota: calls that are admitted per turn, that is between two reports of lag. Infinite unless the loop lags.
        lag: the lag of the event loop in seconds, 0 while it may be only a pause.
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
        self._episode: tuple[int, float] | None = None  # during an overload: calls in flight, and their mean ratio
        self._settled = -inf  # when the calls in flight came down to the last cut; inf until then
        # The turn.
        self._admitted = 0
        self._turn_peak = 0
        self._late_since = inf
        self._turned = -inf
        self._grown = -inf

    @property
    def retry_after(self) -> float:
        """Seconds after which a refused call may be admitted."""
        return max(WINDOW, self.lag)

    def admit(self, in_flight: int) -> bool:
        """Whether one more call is admitted."""
        if in_flight > self._turn_peak:  # noqa: PLR1730 - half the cost of max(), in every call
            self._turn_peak = in_flight
        if in_flight >= self.limit or self._admitted >= self.quota:
            return False
        self._admitted += 1
        return True

    def observe(self, key: Hashable, seconds: float, in_flight: int, now: float, *, whole: bool = True) -> None:
        """Record a call that has ended.

        Args:
            key: its method.
            seconds: its latency.
            in_flight: the number of calls in flight, this one included.
            now: the time in seconds.
            whole: whether it ended by itself. A call that was stopped counts only if it was slow already.
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
            return  # it began before the last cut took effect, so it says nothing about the time after
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
            self._evaluate(now)

    def usual(self, key: Hashable) -> float:
        """The usual latency of a method in seconds, 0 until it is known."""
        latency = self._latencies.get(key)
        return latency.usual if latency is not None else 0.0

    def lagged(self, seconds: float, now: float) -> None:
        """Record the lag of the event loop. To be called every few hundredths of a second.

        A short lag is a pause, of garbage collection or of the machine, or a burst of calls. A longer one is an
        overload. From then on every further lag counts, until the quota has grown back.
        """
        elapsed = now - self._turned
        self._late_since = min(self._late_since, now) if seconds > TARGET_LAG else inf
        self.lag = seconds if self.quota < inf or now - self._late_since >= _BURST else 0.0
        if self.lag > TARGET_LAG:
            # The time between two reports consists of the timer's interval and the lag. This share of it fits the
            # target.
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

    def _evaluate(self, now: float) -> None:
        """Evaluate a window: learn the usual latencies from it, or cut the limit."""
        ratio, slowness = self._ratios / self._count, self._slowness / self._count
        if ratio <= _TOLERANCE or self._late <= TARGET_LAG * self._count:
            self._episode = None
            self._learn(1 - exp((self._begun - now) / _LEARNING) if ratio <= _USUAL else 0.0)
            self._grow(now)
        else:
            # The first window of an overload contains calls from before it, so later ones are compared with the second.
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
        """Raise limit and quota a little, at most once per window and not while the loop lags."""
        if now - self._grown < WINDOW or self.lag > TARGET_LAG:
            return
        self._grown = now
        if self._episode is None:
            self.limit = min(self._maximum, self.limit + sqrt(self.limit))
        if self.quota < inf:
            grown = self.quota + sqrt(self.quota)
            self.quota = grown if grown < self._maximum else inf

    def _cut(self, in_flight: int, share: float) -> None:
        """Cut the limit to a share of the calls in flight, unless they are few or an earlier cut has no effect yet."""
        if in_flight > self._floor and self._settled < inf:
            self.limit = max(self._floor, min(self.limit, in_flight) * share)
            self._settled = inf

    def _learn(self, part: float) -> None:
        """Move the usual latencies towards those of the window by a part, and clear the window."""
        for latency in self._latencies.values():
            if latency.usual and latency.count:
                mean = latency.total / latency.count
                latency.usual = max(latency.usual + (mean - latency.usual) * part, _SHORTEST)
                latency.total, latency.count = 0.0, 0
