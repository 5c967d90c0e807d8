"""The last 15 minutes of each method, in steps of 10 seconds, made from the counters: calls pay nothing for it."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, TypeAlias

import msgspec

from meshcore.telemetry.calls import Calls
from meshcore.telemetry.histogram import quantile, unpacked
from meshcore.telemetry.recorder import Recorder
from meshcore.telemetry.told import Count, Counts, Seconds

STEP: Final = 10
"""Seconds."""

STEPS: Final = 90

_STEP = Struct("=ffeee")  # in the ring: numbers of calls and failures, and seconds with three digits; 1.2 KiB for all
_NO_CALLS: Final = (0.0,) * 5


class Step(msgspec.Struct, array_like=True, frozen=True):
    """What a method did in ten seconds. A step without calls is left out.

    Attributes:
        at: its end, in seconds since 1970.
        calls: that ended.
        failures: the share of these that failed, as a number of calls.
        p50: seconds within which half of them ended.
        p95: the same for 95 %.
        p99: the same for 99 %.
    """

    at: Count
    calls: Count
    failures: Count
    p50: Seconds
    p95: Seconds
    p99: Seconds


class Window(msgspec.Struct, frozen=True):
    """What a method did lately.

    Attributes:
        seconds: the length of the window, 10 to 20 unless the process has just started.
        calls: that ended.
        failures: the calls that failed.
        counts: the latencies, by bucket of `BOUNDS`; windows of several processes can be added up. Empty without calls.
    """

    seconds: Seconds
    calls: Count = 0
    failures: Count = 0
    counts: Counts = ()

    @property
    def per_second(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds if self.seconds else 0.0

    def quantile(self, share: float) -> float | None:
        """Seconds within which that share of the calls ended; None without calls."""
        return quantile(self.counts, share)


class _Totals:
    """What was counted of a method until some time."""

    __slots__ = ("counts", "failures")

    def __init__(self) -> None:
        self.counts = 0  # see `histogram.packed`
        self.failures = 0

    def add(self, calls: Calls) -> None:
        self.counts += calls.packed()
        self.failures += calls.failed_count


_NOTHING = _Totals()

Key: TypeAlias = tuple[str, str, str]
"""The side ("server" or "client"), the component and the method."""


class _Track:
    """One method.

    Attributes:
        last: its totals at the last tick.
        before: and at the one before that.
        ring: the steps, by their number.
    """

    __slots__ = ("before", "last", "ring")

    def __init__(self) -> None:
        self.before = self.last = _NOTHING
        self.ring = bytearray(STEPS * _STEP.size)


class History:
    """The history of all methods of a mesh. `tick` is to be called every `STEP` seconds.

    Args:
        recorder: has the counters.
        now: seconds since 1970.
    """

    def __init__(self, recorder: Recorder, now: float) -> None:
        self._recorder = recorder
        self._tracks: dict[Key, _Track] = {}
        self._number = int(now // STEP)  # of the last step in the rings
        self._last = self._before = now

    def tick(self, now: float) -> None:
        """End a step."""
        number = int(now // STEP)
        if number == self._number:
            return
        # If the loop hung, or the clock was set, there are steps of which nothing is known.
        skipped = range(self._number + 1, number) if self._number < number < self._number + STEPS else range(STEPS)
        for key, totals in self._totals().items():
            track = self._tracks.get(key)
            if track is None:
                track = self._tracks[key] = _Track()
            for each in skipped:
                _write(track.ring, each, _NO_CALLS)
            _write(track.ring, number, _numbers(totals, track.last))
            # Two of the same would take 0.4 KiB for each method that is not called at the moment.
            track.before, track.last = track.last, track.last if totals.counts == track.last.counts else totals
        self._number = number
        self._before, self._last = self._last, now

    def steps(self, key: Key, most: int = STEPS) -> list[Step]:
        """The steps in which a method was called, oldest first, among the last ones."""
        track = self._tracks.get(key)
        return [] if track is None else list(self._steps(track, most))

    def _steps(self, track: _Track, most: int) -> Iterator[Step]:
        for number in range(self._number - most + 1, self._number + 1):
            calls, failures, *quantiles = _STEP.unpack_from(track.ring, number % STEPS * _STEP.size)
            if calls:
                p50, p95, p99 = (round(each, 6) for each in quantiles)
                yield Step(number * STEP, int(calls), int(failures), p50, p95, p99)

    def windows(self, now: float) -> dict[Key, Window]:
        """What each method did since the tick before the last one."""
        seconds = max(now - self._before, 0.0)
        found: dict[Key, Window] = {}
        for key, totals in self._totals().items():
            track = self._tracks.get(key)
            before = track.before if track is not None else _NOTHING
            found[key] = Window(seconds)
            if totals.counts != before.counts:
                counts = unpacked(totals.counts - before.counts)
                found[key] = Window(seconds, sum(counts), totals.failures - before.failures, tuple(counts))
        return found

    def _totals(self) -> dict[Key, _Totals]:
        found: dict[Key, _Totals] = {}
        for _, calls in self._recorder.served:
            found.setdefault(("server", calls.component, calls.method), _Totals()).add(calls)
        for calls in self._recorder.made():
            found.setdefault(("client", calls.component, calls.method), _Totals()).add(calls)
        return found


def _numbers(totals: _Totals, before: _Totals) -> tuple[float, ...]:
    """The numbers of a step."""
    if totals.counts == before.counts:
        return _NO_CALLS
    counts = unpacked(totals.counts - before.counts)
    quantiles = (quantile(counts, share) or 0.0 for share in (0.5, 0.95, 0.99))
    return (float(sum(counts)), float(totals.failures - before.failures), *quantiles)


def _write(ring: bytearray, number: int, values: tuple[float, ...]) -> None:
    _STEP.pack_into(ring, number % STEPS * _STEP.size, *values)
