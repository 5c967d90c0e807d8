"""Two servers that announce themselves in a real Consul, and a client that calls them while things go wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from meshcore import Mesh, load_settings
from meshcore.testing import ConsulAgent, consul_agent
from registry import ConsulComponentRegistry
from registry.consul_client import ConsulClient
from registry.consul_config import read_config
from tests.support.ledger import Ledger
from tests.support.ledger_client import LedgerClient
from tests.support.processes import ServerProcess, serve

CACHE = Path(__file__).parents[2] / ".cache"


def to(agent: ConsulAgent) -> ConsulClient:
    """A client of one's own."""
    return ConsulClient(read_config(agent.url))


@asynccontextmanager
async def server(folder: Path, agent: ConsulAgent) -> AsyncIterator[ServerProcess]:
    """A process that serves the ledger and announces it."""
    env = {"MESHCORE_REGISTRY": f"consul://{agent.url.removeprefix('http://')}", "LEDGER_FOLDER": str(folder)}
    async with serve(folder, "tests.support.ledger:LedgerModule", env=env) as process:
        yield process


class Load:
    """Callers that read without a pause."""

    def __init__(self) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self.running = True

    async def call(self, ledger: Ledger) -> None:
        while self.running:
            try:
                await ledger.read(self.answered)
                self.answered += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.failures.append(repr(error))
            await asyncio.sleep(0.005)

    async def more(self, calls: int = 50) -> None:
        """Return when so many more were answered."""
        goal = self.answered + calls
        async with asyncio.timeout(20):
            while self.answered < goal:
                await asyncio.sleep(0.01)


@dataclass
class Scene:
    """Two servers, a client that calls them all the time, and what they meet in.

    Attributes:
        agent: all use it.
        servers: the two.
        mesh: the client's.
        load: its calls.
        registry: one to look with.
    """

    agent: ConsulAgent
    servers: list[ServerProcess]
    mesh: Mesh
    load: Load
    registry: ConsulComponentRegistry

    async def until_passing(self, count: int, seconds: float = 10.0) -> float:
        """Return when Consul lists so many as passing, and how long that took."""
        begun = time.monotonic()
        async with asyncio.timeout(seconds), to(self.agent) as client:
            while True:
                found = await client.health("ledger")
                if sum({check.status for check in each.checks} == {"passing"} for each in found.entries) == count:
                    return time.monotonic() - begun
                await asyncio.sleep(0.02)

    async def until_known(self, count: int, seconds: float = 10.0) -> float:
        """Return when the client knows of so many, and how long that took."""
        begun = time.monotonic()
        async with asyncio.timeout(seconds):
            while len(self.mesh.runtime._routes["ledger"].instances) != count:
                await asyncio.sleep(0.005)
        return time.monotonic() - begun


@asynccontextmanager
async def scene(folder: Path, *, keeps_data: bool = False) -> AsyncIterator[Scene]:
    """Calls go on during the block, and none of them may fail."""
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(consul_agent(cache=CACHE, keeps_data=keeps_data))
        servers = await asyncio.gather(*(stack.enter_async_context(server(folder, agent)) for _ in range(2)))
        registry = await stack.enter_async_context(ConsulComponentRegistry(agent.url))
        url = f"consul://{agent.url.removeprefix('http://')}"
        settings = load_settings({"registry": url}, environ={}, directory=folder)
        mesh = await stack.enter_async_context(Mesh(LedgerClient, settings=settings))
        await mesh.wait_for(Ledger)
        load = Load()
        tasks = [asyncio.create_task(load.call(await mesh.get_service(Ledger, "rest"))) for _ in range(3)]
        try:
            acted = Scene(agent, servers, mesh, load, registry)
            await acted.until_known(2)
            await load.more()
            yield acted
            await load.more()
        finally:
            load.running = False
            await asyncio.gather(*tasks)
        assert not load.failures, load.failures[:5]
