"""What the simulation found, as a table, and the goals."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from benchmarks.report import Goal, goal_line
from benchmarks.simulation.run import Found
from benchmarks.simulation.scenario import Scenario, Variant

HEAD = ("p50 ms", "p99 ms", "p99.9 ms", "success", "attempts", "goodput")
WIDTH, COLUMN = 48, 10


class Row(msgspec.Struct, frozen=True):
    """One run."""

    scenario: Scenario
    variant: Variant
    found: Found


def render(rows: Sequence[Row], goals: Sequence[Goal], notes: Sequence[str]) -> str:
    """The table, the goals, the notes."""
    lines = [" " * WIDTH + "".join(f"{name:>{COLUMN}}" for name in HEAD), "-" * (WIDTH + COLUMN * len(HEAD))]
    scenario: Scenario | None = None
    for row in rows:
        if row.scenario != scenario:
            scenario = row.scenario
            lines.append(f"{scenario}:")
        lines.append(_line(row))
    lines += ["", "goals:", *(goal_line(goal, 4) for goal in goals), "", *notes]
    return "\n".join(lines)


def _line(row: Row) -> str:
    found = row.found
    times = "".join(f"{seconds * 1e3:{COLUMN}.1f}" for seconds in (found.p50, found.p99, found.p999))
    shares = f"{found.success:{COLUMN}.2%}{found.amplification:{COLUMN}.3f}{found.goodput:{COLUMN}.1%}"
    return f"  {row.variant!s:{WIDTH - 2}}{times}{shares}"
