"""Queries that end while somebody begins to follow: a hub with a client of a few lines."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from meshcore.core.instances import Absent
from meshcore.registry.consul.api.config import ConsulConfig
from meshcore.registry.consul.api.types import Health
from meshcore.registry.consul.hub import Hub


class Client:
    """Answers queries when the test says so."""

    def __init__(self) -> None:
        self.pending: list[asyncio.Future[Health]] = []

    async def health(self, name: str, **_: object) -> Health:
        self.pending.append(asyncio.get_running_loop().create_future())
        return await self.pending[-1]

    async def authorize(self, *questions: object) -> list[bool]:
        return [True for _ in questions]

    async def may_read_nodes(self) -> bool:
        return True

    async def asked(self, count: int) -> asyncio.Future[Health]:
        """The query of that number, as soon as it is there."""
        async with asyncio.timeout(5):
            while len(self.pending) < count:
                await asyncio.sleep(0.01)
        return self.pending[count - 1]


async def test_who_comes_as_a_query_ends_is_told_all_the_same():
    """The last follower has left, the query that it left behind ends, and in that very moment another comes."""
    hub, client = Hub(ConsulConfig()), Client()
    hub.client = client
    async with aclosing(hub.feed("orders").follow()) as sightings:
        first = asyncio.ensure_future(anext(sightings))
        (await client.asked(1)).set_result(Health(5, leader=True, entries=[]))
        assert await first == Absent()
        left_behind = await client.asked(2)

    async def newcomer() -> object:
        await left_behind
        async with aclosing(hub.feed("orders").follow()) as sightings:
            return await anext(sightings)

    told = asyncio.create_task(newcomer())
    await asyncio.sleep(0.01)
    left_behind.set_result(Health(6, leader=True, entries=[]))
    (await client.asked(3)).set_result(Health(7, leader=True, entries=[]))
    async with asyncio.timeout(5):
        assert await told == Absent()
    assert len(hub._queries) == 1
    (await client.asked(4)).set_result(Health(8, leader=True, entries=[]))
    async with asyncio.timeout(5):
        while hub._queries:
            await asyncio.sleep(0.01)
