"""The shared queries of many components: a client of a few lines, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from meshcore.core.errors import Code, CommunicationError
from meshcore.core.instances import Absent, Failed
from meshcore.registry.consul.api.config import ConsulConfig
from meshcore.registry.consul.api.types import CheckRow, Health
from meshcore.registry.consul.hub import Hub
from meshcore.testing import run_virtually


class Client:
    """A Consul without services. Queries block for their wait, as nothing ever changes.

    Attributes:
        asked: what was asked, in order.
        down: whether it is away.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.down = False

    async def catalog(self, *, index: int, wait: float, **_: object) -> tuple[int, dict[str, list[str]]]:
        await self._wait("catalog", index, wait)
        return 5, {}

    async def checks(self, state: str, *, index: int = 0, wait: float = 0.0, **_: object) -> tuple[int, list[CheckRow]]:
        await self._wait(state, index, wait)
        return 5, []

    async def health(self, name: str, **_: object) -> Health:
        await self._wait(name, 0, 0.0)
        return Health(5, leader=True, entries=[])

    async def authorize(self, *questions: object) -> list[bool]:
        return [True for _ in questions]

    async def may_read_nodes(self) -> bool:
        return True

    async def _wait(self, what: str, index: int, wait: float) -> None:
        self.asked.append(what)
        if self.down:
            raise CommunicationError(Code.UNAVAILABLE, "away")
        await asyncio.sleep(wait if index else 0.001)


def test_the_shared_queries_rest_while_nobody_watches():
    """They end with their waits, are there again at once for who comes later, and what they told last is forgotten."""

    async def scene() -> None:
        hub, client = Hub(ConsulConfig(watches=0)), Client()
        hub._shared._client = client

        async def first_of(component: str) -> object:
            async with aclosing(hub.feed(component).follow()) as sightings, asyncio.timeout(1.0):
                return await anext(sightings)

        assert await first_of("orders") == Absent()
        assert await first_of("stock") == Absent()  # goes on with the queries of before
        await asyncio.sleep(60.0)  # the longest wait is half of that
        client.asked.clear()
        await asyncio.sleep(3600.0)
        assert not client.asked
        assert await first_of("orders") == Absent()
        assert {"catalog", "critical", "warning"} <= set(client.asked)
        await asyncio.sleep(60.0)
        client.down = True
        assert isinstance(await first_of("orders"), Failed)
        await asyncio.sleep(60.0)
        client.down = False
        assert await first_of("orders") == Absent()  # and not what failed an hour ago
        await hub._shared.stop()

    run_virtually(scene())
