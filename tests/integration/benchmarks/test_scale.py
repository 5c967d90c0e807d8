"""The gate: what many calls, connections and items on the stream channel take; `python -m benchmarks` has the goals."""

from __future__ import annotations

import pytest

from benchmarks.report import Report
from benchmarks.scale.section import flight, idle, items
from benchmarks.scale.written import write_scale

pytestmark = pytest.mark.alone

# Beyond the goals by what a version of Python makes of difference, and far below what a buffer would take.
LOOSE = {"KiB": 1.5, "MiB": 1.0, "memory": 1.1, "p99": 1.5, "failed:": 1.0}


async def test_much_on_the_stream_channel_takes_little(tmp_path) -> None:
    """Of 2,000 calls in flight none fails or waits too long; idle connections and slow readers take little memory."""
    report = Report("a machine", {}, [], [], [])
    await flight(report, "asyncio", 2_000, 1.0, 0)
    await idle(report, "asyncio", 200)
    await items(report, "asyncio", 30_000)
    beyond = [goal for goal in report.goals if goal.found > goal.limit * LOOSE[goal.text.split()[0]]]
    assert not beyond, beyond
    assert len(report.goals) == 8
    text = write_scale(report, tmp_path)[1].read_text()
    assert all(goal.text in text for goal in report.goals)
