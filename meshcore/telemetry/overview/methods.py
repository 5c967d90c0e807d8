"""Puts together what several processes tell of the same method."""

from __future__ import annotations

from collections.abc import Iterable

from meshcore.telemetry.overview.processes import Name
from meshcore.telemetry.summary import Ended, MethodSummary, Summary
from meshcore.telemetry.told import told


def by_name(summaries: Iterable[Summary]) -> dict[Name, list[MethodSummary]]:
    """What servers tell of each method, ordered by name."""
    found: dict[Name, list[MethodSummary]] = {}
    for each in summaries:
        for method in each.served:
            found.setdefault((method.component, method.method), []).append(method)
    return dict(sorted(found.items()))


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
