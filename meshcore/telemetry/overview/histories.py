"""The last 15 minutes of each method, put together from the steps of all processes as they end."""

from __future__ import annotations

from collections.abc import Iterable

from meshcore.telemetry.history import STEP, STEPS, Step
from meshcore.telemetry.overview.processes import Name
from meshcore.telemetry.overview.state import MethodHistory
from meshcore.telemetry.summary import Summary
from meshcore.telemetry.told import told


class _Together:
    """What a method did in one step, in all processes. Their buckets are not kept, so quantiles cannot be exact."""

    __slots__ = ("calls", "failures", "p50", "p95", "p99")

    def __init__(self) -> None:
        self.calls = self.failures = 0
        self.p50 = self.p95 = self.p99 = 0.0

    def add(self, step: Step) -> None:
        self.calls += step.calls
        self.failures += step.failures
        self.p50 += step.p50 * step.calls
        self.p95 = max(self.p95, step.p95)
        self.p99 = max(self.p99, step.p99)


class Histories:
    """Adds up steps. Each step of a process counts once, whenever and how often the process tells it."""

    def __init__(self) -> None:
        self._rows: dict[Name, dict[int, _Together]] = {}
        self._seen: dict[str, tuple[Summary, int]] = {}  # by process: what it told, and the last step of that

    def look(self, summaries: Iterable[Summary], now: float) -> None:
        """Take what processes tell now.

        Args:
            summaries: of the processes.
            now: seconds since 1970.
        """
        first, last = int(now // STEP) - STEPS + 1, int(now // STEP) + 1  # clocks of machines differ a little
        names: set[Name] = set()
        seen: dict[str, tuple[Summary, int]] = {}
        for summary in summaries:
            known, until = self._seen.get(summary.about.instance, (None, 0))
            names.update((method.component, method.method) for method in summary.served)
            if known is not summary:
                until = self._add(summary, max(first, until + 1), last, until)
            seen[summary.about.instance] = summary, until
        self._seen = seen
        self._rows = {
            name: {number: row for number, row in rows.items() if number >= first}
            for name, rows in self._rows.items()
            if name in names
        }

    def _add(self, summary: Summary, first: int, last: int, until: int) -> int:
        """Add the steps of a process that are new. Returns the number of the last one."""
        for method in summary.served:
            rows = self._rows.setdefault((method.component, method.method), {})
            for step in method.history:
                number = step.at // STEP
                if step.calls and first <= number <= last:
                    row = rows.get(number)
                    if row is None:
                        row = rows[number] = _Together()
                    row.add(step)
                    until = max(until, number)
        return until

    def shown(self, names: Iterable[Name], now: float) -> list[MethodHistory]:
        """The history of these methods.

        Args:
            names: of the methods.
            now: seconds since 1970.
        """
        return [self._shown(name, int(now // STEP)) for name in names]

    def _shown(self, name: Name, last: int) -> MethodHistory:
        rows = self._rows.get(name, {})
        steps = [rows.get(number) for number in range(last - STEPS + 1, last + 1)]
        return MethodHistory(
            component=name[0],
            method=name[1],
            step=STEP,
            calls=tuple(told(each.calls) if each else 0 for each in steps),
            failed=tuple(told(each.failures) if each else 0 for each in steps),
            p50=tuple(each.p50 / each.calls if each else None for each in steps),
            p95=tuple(each.p95 if each else None for each in steps),
            p99=tuple(each.p99 if each else None for each in steps),
        )
