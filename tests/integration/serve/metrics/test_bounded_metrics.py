"""What callers choose, names of methods and of themselves, takes no memory of a server."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from benchmarks.telemetry.strangers import Strangers, over_dispatch, over_stream, resident, series
from meshcore.telemetry.tables import MOST_CALLERS
from tests.support.processes import serve

pytestmark = pytest.mark.one_python

WARM, CALLS = 1_000, 5_000
MIB = 2**20
NEVER_REFUSED = {"MESHCORE_ADAPTIVE_LIMIT": "false"}


async def test_unknown_methods_and_callers_are_a_fixed_number_of_series(tmp_path: Path) -> None:
    """Each call names another method and another caller. `python -m benchmarks --only telemetry` makes 100,000."""
    async with serve(tmp_path, "tests.support.depot:DepotModule", env=NEVER_REFUSED) as server:
        strangers = Strangers()
        for over in (over_dispatch, over_stream):
            await over(server.url, strangers, WARM)
        before, found = resident(server.process.pid), await series(server.url)
        for over in (over_dispatch, over_stream):
            assert await over(server.url, strangers, CALLS) == CALLS
        assert await series(server.url) == found
        assert resident(server.process.pid) - before < 2 * MIB  # with 210 bytes for each call it would be more
        async with aiohttp.ClientSession() as session, session.get(f"{server.url}/report/summary") as response:
            [summary] = (await response.json())["processes"]
    (other,) = [each for each in summary["served"] if each["method"] == "_OTHER"]
    assert len(other["callers"]) <= MOST_CALLERS + 1
    assert other["failures"] == 2 * (WARM + CALLS)
