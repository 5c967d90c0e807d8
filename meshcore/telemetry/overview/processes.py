"""What each process tells, prepared when it tells it: it is not asked at each look, and is shown again and again."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

from meshcore.telemetry.histogram import BUCKETS, packed, quantile, unpacked
from meshcore.telemetry.overview.state import Rate
from meshcore.telemetry.summary import Summary

_K = TypeVar("_K")

Name: TypeAlias = tuple[str, str]
"""Component and method."""

Who: TypeAlias = tuple[str, bool]
"""The name of a caller, and whether it has proven it."""

Key: TypeAlias = tuple[str, str, Who]
"""Component, method and caller."""

_WINDOW = 10.0
"""Seconds of calls that the rate of a caller is taken from."""

_SHORTEST = 0.001
"""Seconds. Nothing follows from what a process did in less."""

_SCALE = 1000
"""Seconds that the latencies of a window are scaled to, so that those of several processes can be added up."""

_UNIT = 1_000_000
"""Numbers of calls per second are kept as whole millionths: sums of these can be corrected again and again."""

_MASK = (1 << 64 * BUCKETS) - 1
"""A process may tell any number. What does not fit into the buckets is cut off."""


class Sum:
    """Calls of several processes together.

    Attributes:
        calls: millionths of the number that ends per second.
        failures: the same of those that fail.
        counts: the latencies, see `histogram.packed`. Only their shares matter.
        parts: how many sums were added.
    """

    __slots__ = ("calls", "counts", "failures", "parts")

    def __init__(self, calls: int = 0, failures: int = 0, counts: int = 0) -> None:
        self.calls = calls
        self.failures = failures
        self.counts = counts
        self.parts = 0

    def add(self, other: Sum, times: int = 1) -> None:
        """Count these, too; or no longer, if that is -1 times."""
        if other.calls:
            self.calls += times * other.calls
            self.failures += times * other.failures
            self.counts += times * other.counts
        self.parts += times

    def rate(self) -> Rate:
        """The same for people."""
        if self.calls <= 0:
            return Rate()
        counts = unpacked(self.counts & _MASK)
        p50, p95, p99 = (quantile(counts, share) for share in (0.5, 0.95, 0.99))
        return Rate(self.calls / _UNIT, min(max(0.0, 1 - self.failures / self.calls), 1.0), p50, p95, p99)


NOTHING = Sum()


class Totals(dict[_K, Sum]):
    """Sums by name, corrected when a process tells something new: to add up all of 200 takes much longer."""

    def change(self, parts: Mapping[_K, Sum], times: int) -> None:
        """Count these, too; or no longer, if that is -1 times."""
        for key, part in parts.items():
            total = self.get(key)
            if total is None:
                total = self[key] = Sum()
            total.add(part, times)
            if not total.parts:
                del self[key]


def _packed(counts: Sequence[int]) -> int:
    return packed(array("Q", (*counts[:BUCKETS], *_ZEROS[len(counts) :])))


_ZEROS = (0,) * BUCKETS


class _Counted:
    """What a caller did since the start of a process."""

    __slots__ = ("calls", "counts", "failures")

    def __init__(self, calls: int = 0, failures: int = 0, counts: int = 0) -> None:
        self.calls = calls
        self.failures = failures
        self.counts = counts


_UNCOUNTED = _Counted()


class Process:
    """What one process tells.

    Attributes:
        summary: what it told last.
        methods: what each method that it serves did lately.
        components: the same for each component.
        callers: what each caller did within the last seconds.
    """

    __slots__ = ("_told", "callers", "components", "methods", "summary")

    def __init__(self, summary: Summary, now: float) -> None:
        self._told: deque[tuple[float, dict[Key, _Counted]]] = deque()
        self.callers: dict[Key, Sum] = {}
        self.tell(summary, now)

    def tell(self, summary: Summary, now: float) -> None:
        """Take what it tells now into account."""
        self.summary = summary
        self.methods: dict[Name, Sum] = {}
        self.components: dict[str, Sum] = {}
        for each in summary.served:
            if (seconds := each.recent.seconds) >= _SHORTEST:
                calls, failures = (int(count * _UNIT / seconds) for count in (each.recent.calls, each.recent.failures))
                found = Sum(calls, failures, _packed(each.recent.counts) * max(round(_SCALE / seconds), 1))
                self.methods.setdefault((each.component, each.method), Sum()).add(found)
                self.components.setdefault(each.component, Sum()).add(found)
        self._changes(now)

    def _changes(self, now: float) -> None:
        told = self._told
        if told and now - told[-1][0] > 2 * _WINDOW:
            told.clear()  # nobody has looked for a while, and a mean of that time is not what happens now
        told.append((now, _counted(self.summary)))
        # The one before the window stays: differences are taken to it.
        while len(told) > 2 and told[1][0] <= now - _WINDOW:  # noqa: PLR2004 - two make a difference
            told.popleft()
        (begun, before), (ended, after) = told[0], told[-1]
        # Of a process that was not there before, everything is new, but since when is not known.
        seconds = ended - begun if len(told) > 1 else 0.0
        self.callers = {key: _change(before.get(key, _UNCOUNTED), counted, seconds) for key, counted in after.items()}


def _counted(summary: Summary) -> dict[Key, _Counted]:
    return {
        (method.component, method.method, (caller.name, caller.proven)): _Counted(
            caller.calls, caller.failures, _packed(caller.counts)
        )
        for method in summary.served
        for caller in method.callers
    }


def _change(before: _Counted, after: _Counted, seconds: float) -> Sum:
    calls = after.calls - before.calls
    if calls <= 0 or seconds < _SHORTEST:
        return NOTHING
    failures = max(after.failures - before.failures, 0)
    return Sum(int(calls * _UNIT / seconds), int(failures * _UNIT / seconds), after.counts - before.counts)


class Processes:
    """All processes of a mesh. Rates of callers need two answers of a process.

    Attributes:
        by_instance: the processes, by what identifies them.
        methods: what is called lately, by method.
        components: the same by component.
    """

    def __init__(self) -> None:
        self.by_instance: dict[str, Process] = {}
        self.methods: Totals[Name] = Totals()
        self.components: Totals[str] = Totals()
        self._callers: Totals[Key] = Totals()

    def look(self, summaries: Iterable[Summary], now: float) -> None:
        """Take what processes tell now. The same object again, of one that was not asked, says nothing new.

        Args:
            summaries: of the processes.
            now: seconds on a clock that only goes forward.
        """
        found: dict[str, Process] = {}
        for each in summaries:
            known = self.by_instance.pop(each.about.instance, None) or found.get(each.about.instance)
            if known is None:
                known = Process(each, now)
                self._count(known, 1)
            elif known.summary is not each:
                self._count(known, -1)
                known.tell(each, now)
                self._count(known, 1)
            found[each.about.instance] = known
        for gone in self.by_instance.values():
            self._count(gone, -1)
        self.by_instance = found

    def _count(self, process: Process, times: int) -> None:
        self.methods.change(process.methods, times)
        self.components.change(process.components, times)
        self._callers.change(process.callers, times)

    def callers(self) -> tuple[Mapping[tuple[Who, str], Rate], Mapping[Name, list[tuple[Who, Rate]]]]:
        """The rate of each caller of a component, and those of the callers of each method."""
        edges: dict[tuple[Who, str], Sum] = {}
        methods: dict[Name, list[tuple[Who, Rate]]] = {}
        for (component, method, who), changed in self._callers.items():
            edges.setdefault((who, component), Sum()).add(changed)
            if changed.calls:
                methods.setdefault((component, method), []).append((who, changed.rate()))
        for callers in methods.values():
            callers.sort(key=lambda pair: -pair[1].calls)
        return {edge: found.rate() for edge, found in edges.items()}, methods
