"""How late an event loop is."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from meshcore.lag import EVERY, lag_reported


def open_files() -> int:
    """How many this process has open."""
    files = Path("/proc/self/fd")
    return len(list(files.iterdir())) if files.is_dir() else 0


async def test_a_blocked_loop_is_reported() -> None:
    """Who blocks the loop makes it late by about as much; reports end with the context, and leave nothing open."""
    reports: list[float] = []
    before = open_files()
    with lag_reported(lambda lag, now: reports.append(lag)):
        while not reports:
            await asyncio.sleep(EVERY / 5)
        reports.clear()
        time.sleep(EVERY + 0.3)  # noqa: ASYNC251 - that is the point
        while not reports:
            await asyncio.sleep(0)
        assert 0.2 < reports[0] < 5
    assert open_files() == before
    count = len(reports)
    await asyncio.sleep(EVERY * 2)
    assert len(reports) == count
