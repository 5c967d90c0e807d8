"""Several connections to an instance: each call takes that with the fewest, and the end of one harms no other."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import aiohttp
import msgspec
import pytest

from meshcore.testing import memory_mesh
from meshcore.testing.loopback import Loopback
from tests.support.depot import Depot, DepotImpl, DepotModule
from tests.unit.channels.test_stream_channel import SETTINGS, STREAMED, sockets, virtually

several = partial(msgspec.structs.replace, SETTINGS)


async def holding(depot: Depot, impl: DepotImpl, count: int, name: str) -> list[asyncio.Task[int]]:
    """Begin so many calls that last, one after the other."""
    tasks: list[asyncio.Task[int]] = []
    for number in range(count):
        tasks.append(asyncio.ensure_future(depot.hold(name, 30.0)))
        while impl.counts.get(name, [0])[0] <= number:
            await asyncio.sleep(0.01)
    return tasks


@virtually
async def test_calls_take_the_connection_with_the_fewest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call opens one, and later ones those that are missing; when one breaks, its calls alone are lost."""
    made = sockets(monkeypatch)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=several(connections=3)) as mesh:
        depot, impl = await mesh.get_service(Depot), await mesh.get(DepotImpl)
        for text in ("one", "two", "three", "four"):
            assert await depot.echo(text) == text
        assert len(made) == 3
        tasks = await holding(depot, impl, 9, "spread")
        made[1].abort()
        await asyncio.sleep(0.1)
        broken = [task for task in tasks if task.done()]
        assert (len(broken), {str(task.exception()) for task in broken}) == (
            3,
            {"unavailable: depot.hold: no answer from http://instance-0.memory: the connection broke"},
        )
        for text in ("five", "six", "seven"):
            assert await depot.echo(text) == text
        assert len(made) == 4  # that one was opened again
        assert len(await asyncio.gather(*(task for task in tasks if task not in broken))) == 6
        assert [number async for number in depot.count(10)] == list(range(10))
        assert mesh.requests == 0


@virtually
async def test_all_of_them_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the next call opens one, as the first did."""
    made = sockets(monkeypatch)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=several(connections=2)) as mesh:
        depot = await mesh.get_service(Depot)
        for _ in range(3):
            await depot.echo("before")
        assert len(made) == 2
        for each in made[:2]:
            each.abort()
        await asyncio.sleep(0.1)
        for _ in range(3):
            assert await depot.echo("after") == "after"
        assert len(made) == 4


@virtually
async def test_one_is_enough(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where no further one can be opened, calls share the first, and nobody asks again and again."""
    dials = 0
    dial = Loopback.dial

    async def once(self: Loopback, url: Any) -> Any:
        nonlocal dials
        dials += 1
        if dials > 1:
            raise aiohttp.ClientConnectionResetError("no more")
        return await dial(self, url)

    monkeypatch.setattr(Loopback, "dial", once)
    caplog.set_level(logging.INFO)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=several(connections=4)) as mesh:
        depot = await mesh.get_service(Depot)
        assert await asyncio.gather(*(depot.echo(str(number)) for number in range(50)))
        for number in range(50):
            assert await depot.echo(str(number)) == str(number)
        assert dials == 2
        assert caplog.text.count("no further connection to http://instance-0.memory: no more") == 1
        assert "over dispatch-msgpack" not in caplog.text
        assert mesh.client.why(Depot, "echo").instances[0].remark == ""
        await asyncio.sleep(61.0)
        assert await depot.echo("later") == "later"
        await asyncio.sleep(0.1)
        assert dials == 3
        assert mesh.requests == 0
