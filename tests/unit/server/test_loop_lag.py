"""How late an event loop is."""

from __future__ import annotations

import asyncio
import time

from meshcore.server.loop_lag import EVERY, lag_reported
from tests.support.processes import count_open

STATISTICS = "schedstat"
"""What the thread's time off the processor is read from, where there is one."""


async def test_a_blocked_loop_is_reported() -> None:
    """Who blocks the loop makes it late by about as much; reports end with the context, and leave nothing open."""
    reports: list[float] = []
    before = count_open(STATISTICS)
    with lag_reported(lambda lag: reports.append(lag.blocked)):
        while not reports:
            await asyncio.sleep(EVERY / 5)
        reports.clear()
        time.sleep(EVERY + 0.3)  # noqa: ASYNC251 - that is the point
        while not reports:
            await asyncio.sleep(0)
        assert 0.2 < reports[0] < 5
    assert count_open(STATISTICS) == before
    count = len(reports)
    await asyncio.sleep(EVERY * 2)
    assert len(reports) == count
