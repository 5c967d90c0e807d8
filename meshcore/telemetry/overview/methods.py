"""Puts together what several processes tell of the same method."""

from __future__ import annotations

from collections.abc import Iterable

from meshcore.telemetry.history import STEP, STEPS, Step, merged
from meshcore.telemetry.overview.state import MethodHistory, Rate, rate_of
from meshcore.telemetry.summary import Ended, MethodSummary, Summary
from meshcore.telemetry.told import told

Name = tuple[str, str]
"""Component and method."""


def by_name(summaries: Iterable[Summary]) -> dict[Name, list[MethodSummary]]:
    """What servers tell of each method, ordered by name."""
    found: dict[Name, list[MethodSummary]] = {}
    for each in summaries:
        for method in each.served:
            found.setdefault((method.component, method.method), []).append(method)
    return dict(sorted(found.items()))


def rate(methods: Iterable[MethodSummary]) -> Rate:
    """What happens now in all of them together."""
    window = merged(each.recent for each in methods)
    return rate_of(window.seconds, window.calls, window.failures, window.counts)


def errors(methods: Iterable[MethodSummary]) -> tuple[Ended, ...]:
    """How their calls failed, the most frequent first."""
    found: dict[tuple[str, str], Ended] = {}
    for method in methods:
        for each in method.errors:
            known = found.get((each.status, each.kind))
            count = each.count + (known.count if known else 0)
            last = each.last or (known.last if known else "")
            found[each.status, each.kind] = Ended(each.status, each.kind, told(count), last)
    return tuple(sorted(found.values(), key=lambda each: (-each.count, each.kind)))


def histories(summaries: Iterable[Summary], now: float) -> list[MethodHistory]:
    """The last 15 minutes of each method, ordered by name.

    Args:
        summaries: of the processes.
        now: seconds since 1970.
    """
    return [_history(name, methods, now) for name, methods in by_name(summaries).items()]


def _history(name: Name, methods: Iterable[MethodSummary], now: float) -> MethodHistory:
    last = int(now // STEP)
    steps: dict[int, list[Step]] = {}
    for method in methods:
        for step in method.history:
            steps.setdefault(step.at // STEP, []).append(step)
    rows = [_together(steps.get(number, ())) for number in range(last - STEPS + 1, last + 1)]
    calls, failed, p50, p95, p99 = zip(*rows, strict=True)
    return MethodHistory(
        component=name[0], method=name[1], step=STEP, calls=calls, failed=failed, p50=p50, p95=p95, p99=p99
    )


def _together(steps: Iterable[Step]) -> tuple[int, int, float | None, float | None, float | None]:
    found = [step for step in steps if step.calls]
    calls = sum(step.calls for step in found)
    if not calls:
        return 0, 0, None, None, None
    # The buckets of a step are not kept, so quantiles of several processes cannot be exact.
    half = sum(step.p50 * step.calls for step in found) / calls
    p95, p99 = max(step.p95 for step in found), max(step.p99 for step in found)
    return told(calls), told(sum(step.failures for step in found)), half, p95, p99
