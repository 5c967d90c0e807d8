"""What each process tells, prepared when it tells it: it is not asked at each look, and is shown again and again."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from meshcore.telemetry.histogram import BUCKETS, packed, quantile, unpacked
from meshcore.telemetry.overview.state import Rate
from meshcore.telemetry.summary import Summary

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

_SCALE = 1000.0
"""Seconds that the latencies of a window are scaled to, so that those of several processes can be added up."""

_MOST = 1 << 40
"""Calls in a bucket. A process may tell any number; the sum of all has to fit into 64 bits."""

_MASK = (1 << 64 * BUCKETS) - 1


class Sum:
    """Calls of several processes together.

    Attributes:
        calls: that end per second.
        failures: those that fail per second.
        counts: the latencies, see `histogram.packed`. Only their shares matter.
    """

    __slots__ = ("calls", "counts", "failures")

    def __init__(self, calls: float = 0.0, failures: float = 0.0, counts: int = 0) -> None:
        self.calls = calls
        self.failures = failures
        self.counts = counts

    def add(self, other: Sum) -> None:
        """Count these, too."""
        self.calls += other.calls
        self.failures += other.failures
        self.counts += other.counts

    def rate(self) -> Rate:
        """The same for people."""
        if self.calls <= 0:
            return Rate()
        counts = unpacked(self.counts & _MASK)
        p50, p95, p99 = (quantile(counts, share) for share in (0.5, 0.95, 0.99))
        return Rate(self.calls, max(0.0, 1 - self.failures / self.calls), p50, p95, p99)


def added(sums: Iterable[Sum]) -> Rate:
    """What all of them do together."""
    found = Sum()
    for each in sums:
        found.add(each)
    return found.rate()


def _packed(counts: Sequence[int], scale: float = 1.0) -> int:
    padded = [min(int(count * scale), _MOST) for count in counts[:BUCKETS]]
    padded += [0] * (BUCKETS - len(padded))
    return packed(array("Q", padded))


class _Counted:
    """What a caller did since the start of a process."""

    __slots__ = ("calls", "counts", "failures")

    def __init__(self, calls: int = 0, failures: int = 0, counts: int = 0) -> None:
        self.calls = calls
        self.failures = failures
        self.counts = counts


_NOTHING = _Counted()
_NONE = Sum()


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
                counts = _packed(each.recent.counts, _SCALE / seconds)
                found = Sum(each.recent.calls / seconds, each.recent.failures / seconds, counts)
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
        self.callers = {key: _change(before.get(key, _NOTHING), counted, seconds) for key, counted in after.items()}


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
        return _NONE
    return Sum(calls / seconds, (after.failures - before.failures) / seconds, after.counts - before.counts)


class Processes:
    """All processes of a mesh. Rates of callers need two answers of a process."""

    def __init__(self) -> None:
        self.by_instance: dict[str, Process] = {}

    def look(self, summaries: Iterable[Summary], now: float) -> None:
        """Take what processes tell now. The same object again, of one that was not asked, says nothing new.

        Args:
            summaries: of the processes.
            now: seconds on a clock that only goes forward.
        """
        found: dict[str, Process] = {}
        for each in summaries:
            known = self.by_instance.get(each.about.instance)
            if known is None:
                known = Process(each, now)
            elif known.summary is not each:
                known.tell(each, now)
            found[each.about.instance] = known
        self.by_instance = found

    def callers(self) -> tuple[Mapping[tuple[Who, str], Rate], Mapping[Name, list[tuple[Who, Rate]]]]:
        """The rate of each caller of a component, and those of the callers of each method."""
        by_edge: dict[tuple[Who, str], Sum] = {}
        by_method: dict[Name, dict[Who, Sum]] = {}
        for process in self.by_instance.values():
            for (component, method, who), changed in process.callers.items():
                edge = by_edge.get((who, component))
                if edge is None:
                    edge = by_edge[who, component] = Sum()
                if changed is not _NONE:
                    edge.add(changed)
                    by_method.setdefault((component, method), {}).setdefault(who, Sum()).add(changed)
        edges = {edge: found.rate() for edge, found in by_edge.items()}
        methods = {
            method: sorted(((who, found.rate()) for who, found in callers.items()), key=lambda pair: -pair[1].calls)
            for method, callers in by_method.items()
        }
        return edges, methods
