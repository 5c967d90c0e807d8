"""A real server that is asked for several times what it can do."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from benchmarks.processes import Process
from tests.support.processes import serve

MODULE = "tests.integration.serve.burning:BurningModule"
BURN = 0.01  # seconds of the processor per call
PATIENCE = 1.5  # seconds that a caller waits


@dataclass
class Outcome:
    """What came of many calls."""

    answered: int = 0  # those of the first second, too
    good: list[float] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


async def flood(url: str, rate: float, seconds: float) -> Outcome:
    """So many calls per second, whatever comes of them; those of the first second do not count."""
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    body = json.dumps({"method": "burning:burning:burn", "args": [BURN]})
    headers = {"content-type": "application/json", "mesh-timeout-ms": str(int(PATIENCE * 1000))}
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    begun = loop.time()

    async def call(session: aiohttp.ClientSession) -> None:
        sent = time.monotonic()
        counts = loop.time() - begun > 1.0
        try:
            async with session.post(f"{url}/invoke", data=body, headers=headers, timeout=timeout) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome.others[type(error).__name__] += counts
            return
        outcome.answered += response.status == 200
        if counts and response.status == 200:
            outcome.good.append(time.monotonic() - sent)
        elif counts and response.status == 429:
            outcome.refused.append(answer["exception"])
        else:
            outcome.others[str(response.status)] += counts

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.TaskGroup() as group,
    ):
        for number in range(int(rate * seconds)):
            await asyncio.sleep(begun + number / rate - loop.time())
            group.create_task(call(session))
    return outcome


async def capacity(url: str) -> float:
    """Calls per second that a server can do on this machine, with a few callers that wait for their answers."""
    body = json.dumps({"method": "burning:burning:burn", "args": [BURN]})
    headers = {"content-type": "application/json", "mesh-timeout-ms": "10000"}
    begun = time.monotonic()

    async def call(session: aiohttp.ClientSession) -> None:
        for _ in range(20):
            async with session.post(f"{url}/invoke", data=body, headers=headers) as response:
                assert response.status == 200

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(call(session))
    return 60 / (time.monotonic() - begun)


@pytest.mark.alone
async def test_an_overloaded_server_does_what_it_can_and_refuses_the_rest(tmp_path: Path) -> None:
    """At three times its capacity a server still does mostly what is of use; without the limit it is of no use."""
    seconds = 4.0
    async with serve(tmp_path, MODULE, env={"MESHCORE_ADAPTIVE_LIMIT": "true"}) as server:
        most = max([await capacity(server.url) for _ in range(3)])  # the machine may have stalled in one
        process = Process(server.process.pid, server.url)
        before = process.cpu()
        limited = await flood(server.url, 3 * most, seconds)
        spent = process.cpu() - before
    async with serve(tmp_path, MODULE) as server:
        unlimited = await flood(server.url, 3 * most, seconds)
    # Of the processor's time that it got, however much others took: refusing two of three calls costs some as well.
    assert limited.answered * BURN / spent > 0.5
    assert len(unlimited.good) < len(limited.good) / 2
    assert limited.refused
    for refused in limited.refused:
        assert refused["retry_after"] >= 0.1
        assert (refused["code"], refused["retryable"], refused["processed"]) == ("resource_exhausted", True, False)
