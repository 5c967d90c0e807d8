"""How much each caller calls now: from what servers have counted since their start, looked at again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add, sub
from typing import TypeAlias

import msgspec

from meshcore.telemetry.overview.state import Rate, rate_of
from meshcore.telemetry.summary import Summary

Who: TypeAlias = tuple[str, bool]
"""The name of a caller, and whether it has proven it."""

Key: TypeAlias = tuple[str, str, Who]
"""Component, method and caller."""

_WINDOW = 10.0
"""Seconds of calls that a rate is taken from."""


class _Counted:
    """Calls that ended, those that failed, and their latencies by bucket.

    Attributes:
        per_second: the calls per second, of a difference of two.
    """

    __slots__ = ("calls", "counts", "failures", "per_second")

    def __init__(self, calls: int = 0, failures: int = 0, counts: Sequence[int] = (), per_second: float = 0.0) -> None:
        self.calls = calls
        self.failures = failures
        self.counts = counts
        self.per_second = per_second

    def plus(self, other: _Counted) -> _Counted:
        if not other.calls:
            return self
        return _Counted(
            self.calls + other.calls,
            self.failures + other.failures,
            _each(add, self.counts, other.counts),
            self.per_second + other.per_second,
        )

    def minus(self, other: _Counted, seconds: float) -> _Counted:
        calls = self.calls - other.calls
        if calls <= 0:
            return _NONE
        counts = _each(sub, self.counts, other.counts)
        return _Counted(calls, self.failures - other.failures, counts, calls / seconds if seconds > 0 else 0.0)


_NONE = _Counted()


def _each(operation: Callable[[int, int], int], left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    if not right:
        return tuple(left)
    return tuple(map(operation, left or (0,) * len(right), right))


class _Process:
    """What one process has told within the window. It is not asked at each look."""

    __slots__ = ("changed", "last", "told")

    def __init__(self) -> None:
        self.last: Summary | None = None
        self.told: deque[tuple[float, dict[Key, _Counted]]] = deque()
        self.changed: dict[Key, _Counted] = {}

    def look(self, summary: Summary, now: float) -> None:
        if summary is self.last:
            return
        told = self.told
        if told and now - told[-1][0] > _WINDOW:
            told.clear()  # nobody has looked for a while, and a mean of that time is not what happens now
        self.last = summary
        told.append((now, _counted(summary)))
        # The one before the window stays: differences are taken to it.
        while len(told) > 2 and told[1][0] <= now - _WINDOW:  # noqa: PLR2004 - two make a difference
            told.popleft()
        (begun, before), (ended, after) = told[0], told[-1]
        # Of a process that was not there before, everything is new, but since when is not known.
        known = len(told) > 1
        self.changed = {
            key: counted.minus(before.get(key, _NONE), ended - begun) if known else _NONE
            for key, counted in after.items()
        }


class CallerRates:
    """Looks at the counters of all processes, and tells what changed within the last seconds."""

    def __init__(self) -> None:
        self._processes: dict[str, _Process] = {}

    def look(self, summaries: Iterable[Summary], now: float) -> None:
        """Take what processes tell now. The same object again, of one that was not asked, says nothing new.

        Args:
            summaries: of the processes.
            now: seconds on a clock that only goes forward.
        """
        found: dict[str, _Process] = {}
        for each in summaries:
            process = found[each.about.instance] = self._processes.get(each.about.instance) or _Process()
            process.look(each, now)
        self._processes = found

    def rates(self) -> tuple[Mapping[tuple[Who, str], Rate], Mapping[tuple[str, str], list[tuple[Who, Rate]]]]:
        """The rate of each caller of a component, and those of the callers of each method."""
        by_edge: dict[tuple[Who, str], _Counted] = {}
        by_method: dict[tuple[str, str], dict[Who, _Counted]] = {}
        for process in self._processes.values():
            for (component, method, who), changed in process.changed.items():
                edge = (who, component)
                by_edge[edge] = by_edge.get(edge, _NONE).plus(changed)
                callers = by_method.setdefault((component, method), {})
                if changed.calls:
                    callers[who] = callers.get(who, _NONE).plus(changed)
        edges = {edge: _rate(counted) for edge, counted in by_edge.items()}
        methods = {
            method: sorted(((who, _rate(counted)) for who, counted in callers.items()), key=lambda pair: -pair[1].calls)
            for method, callers in by_method.items()
        }
        return edges, methods


def _counted(summary: Summary) -> dict[Key, _Counted]:
    return {
        (method.component, method.method, (caller.name, caller.proven)): _Counted(
            caller.calls, caller.failures, caller.counts
        )
        for method in summary.served
        for caller in method.callers
    }


def _rate(counted: _Counted) -> Rate:
    if not counted.calls or not counted.per_second:
        return Rate()
    shares = rate_of(1.0, counted.calls, counted.failures, counted.counts)
    return msgspec.structs.replace(shares, calls=counted.per_second)
