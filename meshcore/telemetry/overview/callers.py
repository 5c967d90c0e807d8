"""How much each caller calls now: from what servers have counted since their start, looked at again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add, sub

from meshcore.telemetry.overview.state import Rate, rate_of
from meshcore.telemetry.summary import Caller, Summary

Key = tuple[str, str, str]
"""Component, method and caller."""

_WINDOW = 10.0
"""Seconds of calls that a rate is taken from."""


class _Counted:
    """Calls that ended, those that failed, and their latencies by bucket."""

    __slots__ = ("calls", "counts", "failures")

    def __init__(self, calls: int = 0, failures: int = 0, counts: Sequence[int] = ()) -> None:
        self.calls = calls
        self.failures = failures
        self.counts = counts

    def plus(self, other: _Counted) -> _Counted:
        if not other.calls:
            return self
        return _Counted(self.calls + other.calls, self.failures + other.failures, _each(add, self.counts, other.counts))

    def minus(self, other: _Counted) -> _Counted:
        if self.calls == other.calls:
            return _NONE
        return _Counted(self.calls - other.calls, self.failures - other.failures, _each(sub, self.counts, other.counts))


_NONE = _Counted()


def _each(operation: Callable[[int, int], int], left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    if not right:
        return tuple(left)
    return tuple(map(operation, left or (0,) * len(right), right))


class CallerRates:
    """Looks at the counters of all processes, and tells what changed within the last seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, dict[str, dict[Key, _Counted]]]] = deque()

    def look(self, summaries: Iterable[Summary], now: float) -> None:
        """Take what processes tell now.

        Args:
            summaries: of the processes.
            now: seconds on a clock that only goes forward.
        """
        seen = {each.about.instance: _counted(each) for each in summaries}
        if self._looks and now - self._looks[-1][0] > _WINDOW:
            self._looks.clear()  # nobody has looked for a while, and a mean of that time is not what happens now
        self._looks.append((now, seen))
        # The one before the window stays: differences are taken to it.
        while len(self._looks) > 2 and self._looks[1][0] <= now - _WINDOW:  # noqa: PLR2004 - two make a difference
            self._looks.popleft()

    def rates(self) -> tuple[Mapping[tuple[str, str], Rate], Mapping[tuple[str, str], list[tuple[str, Rate]]]]:
        """The rate of each caller of a component, and those of the callers of each method."""
        (begun, before), (ended, after) = self._looks[0], self._looks[-1]
        seconds = ended - begun
        by_method: dict[tuple[str, str], dict[str, _Counted]] = {}
        for process, counters in after.items():
            known = before.get(process)
            for key, counted in counters.items():
                # Of a process that was not there before, everything is new, but since when is not known.
                changed = _NONE if known is None else counted.minus(known.get(key, _NONE))
                component, method, caller = key
                callers = by_method.setdefault((component, method), {})
                callers[caller] = callers[caller].plus(changed) if caller in callers else changed
        by_edge: dict[tuple[str, str], _Counted] = {}
        for (component, _), callers in by_method.items():
            for caller, changed in callers.items():
                edge = (caller, component)
                by_edge[edge] = by_edge.get(edge, _NONE).plus(changed)
        edges = {edge: _rate(seconds, counted) for edge, counted in by_edge.items()}
        methods = {
            method: sorted(
                ((caller, _rate(seconds, counted)) for caller, counted in callers.items() if counted.calls),
                key=lambda pair: -pair[1].calls,
            )
            for method, callers in by_method.items()
        }
        return edges, methods


def _counted(summary: Summary) -> dict[Key, _Counted]:
    return {
        (method.component, method.method, caller.name): _of(caller)
        for method in summary.served
        for caller in method.callers
    }


def _of(caller: Caller) -> _Counted:
    return _Counted(caller.calls, caller.failures, caller.counts)


def _rate(seconds: float, counted: _Counted) -> Rate:
    return rate_of(seconds, counted.calls, counted.failures, counted.counts)
