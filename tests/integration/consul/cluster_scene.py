"""Two servers and a client under constant calls, in a cluster of Consul servers whose members and ways fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from meshcore import Mesh, load_settings
from meshcore.core.instances import Bound, Failed
from meshcore.testing import ConsulAgent, ConsulCluster, Watcher, watching
from tests.integration.consul.scene import Load, server, to
from tests.support.ledger import Ledger
from tests.support.ledger_client import LedgerClient
from tests.support.processes import ServerProcess, serve


class Place(Protocol):
    """Where Consul is for somebody: an agent, or a way to one."""

    url: str


class Way(Place, Protocol):
    """A way to an agent that can be cut: then nothing passes, and nobody is told."""

    def cut(self) -> None: ...

    def heal(self) -> None: ...


class Relay:
    """A way that needs no privilege: a relay of bytes that holds all of them back, the ends of connections too.

    Unlike in a network, new connections are made; but nothing comes over them.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = parts.hostname, parts.port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self._open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._open.wait()
            with suppress(OSError):
                onward_reader, onward = await asyncio.open_connection(*self._target)
                try:
                    await asyncio.gather(self._pump(reader, onward), self._pump(onward_reader, writer))
                finally:
                    onward.close()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        finally:
            await self._open.wait()
            writer.close()

    async def aclose(self) -> None:
        """End all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@asynccontextmanager
async def relay(place: Place) -> AsyncIterator[Relay]:
    """A way to that agent."""
    way = Relay(place.url)
    listener = await asyncio.start_server(way.serve, "127.0.0.1", 0)
    way.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield way
    finally:
        listener.close()
        await way.aclose()
        await listener.wait_closed()


@dataclass
class ClusterScene:
    """Two servers, and a client that calls them all the time.

    Attributes:
        folder: of the test.
        mesh: the client's.
        load: its calls.
        watcher: what the client's own watch reports.
        servers: the two.
    """

    folder: Path
    mesh: Mesh
    load: Load
    watcher: Watcher
    servers: list[ServerProcess]
    _begun: float = field(default_factory=time.monotonic)
    _seen: int = 0

    def begin(self) -> None:
        """Something goes wrong, or ends, now: `until_lost` and `until_live` count from here."""
        self._begun, self._seen = time.monotonic(), len(self.watcher.seen)

    @property
    def seconds(self) -> float:
        """Since `begin`."""
        return time.monotonic() - self._begun

    async def until_lost(self, seconds: float = 40.0) -> float:
        """Return when the client has found out, and how long that took."""
        async with asyncio.timeout(seconds):
            while not any(isinstance(each, Failed) for each in self.watcher.seen[self._seen :]):
                await asyncio.sleep(0.005)
        return self.seconds

    async def until_live(self, seconds: float = 40.0) -> float:
        """Return when the client's watch is told of instances again, or still, and how long that took."""
        async with asyncio.timeout(seconds):
            while not isinstance(self.watcher.seen[-1], Bound):
                await asyncio.sleep(0.005)
        return self.seconds

    async def until_known(self, count: int, seconds: float = 40.0) -> float:
        """Return when the client knows of so many, and how long that took since `begin`."""
        async with asyncio.timeout(seconds):
            while self.known != count:
                await asyncio.sleep(0.005)
        return self.seconds

    @property
    def known(self) -> int:
        """How many the client knows of."""
        return len(self.mesh.runtime.destinations.by_component["ledger"].instances)

    @asynccontextmanager
    async def newcomer(self, place: Place) -> AsyncIterator[ServerProcess]:
        """Another server, which may have to wait for Consul before it is ready; stopped in good order at the end.

        Not killed: after some troubles Consul takes it for the only one that is well, for seconds.
        """
        env = {"MESHCORE_REGISTRY": f"consul://{place.url.removeprefix('http://')}", "LEDGER_FOLDER": str(self.folder)}
        async with serve(self.folder, "tests.support.ledger:LedgerModule", env=env, wait=False) as third:
            yield third
            await third.stop()


async def until_passing(place: Place, count: int, seconds: float = 40.0) -> None:
    """Return when Consul, as it is seen from there, lists so many as passing."""
    async with asyncio.timeout(seconds), to(place) as client:
        while True:
            found = await client.health("ledger")
            if sum({check.status for check in each.checks} == {"passing"} for each in found.entries) == count:
                return
            await asyncio.sleep(0.05)


async def settle(cluster: ConsulCluster, agent: ConsulAgent, *, on_leader: bool) -> ConsulAgent:
    """Let an agent pass its requests on to the leader, or to another server, and return the leader.

    An agent stays with one server until that fails, or for minutes. What a failure of the leader means to its users
    depends on which one that is.
    """
    async with asyncio.timeout(30):
        while await _asks_leader(agent) is not on_leader:
            if on_leader:
                for each in await cluster.followers():
                    await each.kill()
                    await _asks_leader(agent)
                    await each.start()
            else:
                await agent.kill()
                await agent.start()
        return await cluster.leader()


async def _asks_leader(agent: ConsulAgent) -> bool:
    """Whether the leader answers it: who follows says how long ago it heard of the leader, in milliseconds."""
    contacts: set[str] = set()
    async with aiohttp.ClientSession() as session:
        for _ in range(8):
            async with session.get(f"{agent.url}/v1/health/service/consul?stale") as answer:
                contacts.add(answer.headers.get("X-Consul-LastContact", ""))
            await asyncio.sleep(0.02)
    return contacts == {"0"}


@asynccontextmanager
async def cluster_scene(
    folder: Path, homes: Sequence[Place], client: Place, *, check: str = ""
) -> AsyncIterator[ClusterScene]:
    """Calls go on during the block, and none of them may fail.

    Args:
        folder: of the test.
        homes: where each server announces itself.
        client: where the client looks for them.
        check: how Consul knows of the servers' health; default: the registry's own.
    """
    async with AsyncExitStack() as stack:
        starting = (stack.enter_async_context(server(folder, home, check=check)) for home in homes)
        servers = await asyncio.gather(*starting)
        url = f"consul://{client.url.removeprefix('http://')}"
        settings = load_settings({"registry": url}, environ={}, directory=folder)
        mesh = await stack.enter_async_context(Mesh(LedgerClient, settings=settings))
        await mesh.wait_for(Ledger)
        watcher = await stack.enter_async_context(watching(mesh.runtime.registry, "ledger"))
        load = Load()
        read = (await mesh.get_service(Ledger, "rest")).read
        tasks = [asyncio.create_task(load.call("read", read)) for _ in range(3)]
        try:
            acted = ClusterScene(folder, mesh, load, watcher, list(servers))
            await acted.until_known(len(homes))
            await load.more()
            yield acted
            await load.more()
        finally:
            load.running = False
            await asyncio.gather(*tasks)
        assert not load.failures, (len(load.failures), load.failures[:5])


async def client_cut_off(folder: Path, home: Place, way: Way) -> dict[str, float]:
    """The scene of a client whose way to Consul is cut, and healed again; no call fails. Returns its times."""
    async with cluster_scene(folder, [home, home], way) as acted:
        acted.begin()
        way.cut()
        async with acted.newcomer(home) as third:
            lost = await acted.until_lost()
            # Not before: an answer may have been on its way, and one of the two late with its heartbeat in it.
            kept = acted.known
            assert kept  # what it knew is not forgotten when the way is lost
            await third.until_ready()
            await acted.load.more()
            assert acted.known == kept
            acted.begin()
            way.heal()
            return {"lost": lost, "live": await acted.until_live(), "known": await acted.until_known(3)}
