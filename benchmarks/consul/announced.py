"""A client under constant calls, and servers that come and go: all find each other through one Consul agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from benchmarks.contract import BenchComponent, bundle
from benchmarks.processes import Process, free_port, hypercorn
from examples.orders.api import PricingService
from meshcore import Invocation, Mesh, MeshError, advice, around, injectable, load_settings, methods, module
from meshcore.channels.http import HTTPChannel
from meshcore.registry.consul.api.client import ConsulClient
from meshcore.registry.consul.api.config import read_config
from meshcore.registry.consul.registrations import entry_of
from meshcore.wire.endpoints import READYZ

CHANNEL = "dispatch-msgpack"
CALLERS, PAUSE = 4, 0.002
LONGEST = 60.0
_LOOK = 0.0005

clock = time.monotonic


@dataclass
class Attempt:
    """One request of the client's.

    Attributes:
        begun: when it was sent.
        ended: when the answer was there, or the error.
        error: what was wrong, empty if nothing.
    """

    begun: float
    ended: float
    error: str


@injectable()
class Attempts:
    """All of them, and what failed in spite of them.

    Attributes:
        calls: how many were made.
        failed: what the failed calls said.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.failed: list[str] = []
        self._made: dict[str, list[Attempt]] = {}

    def add(self, url: str, attempt: Attempt) -> None:
        """One more."""
        self._made.setdefault(url, []).append(attempt)

    def to(self, url: str, since: float) -> list[Attempt]:
        """Those to one server that were begun since then."""
        return [each for each in self._made.get(url, ()) if each.begun >= since]

    def forget(self) -> None:
        """Begin anew: to look through all that ever was takes time."""
        self._made.clear()


@advice
class Noting:
    """Notes every attempt where it leaves."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    @around(methods().named("exchange").of_type(HTTPChannel))
    async def exchange(self, invocation: Invocation) -> Any:
        """Let it pass."""
        url, begun, error = str(invocation.args[3].origin()), clock(), ""
        try:
            return await cast("Awaitable[Any]", invocation.proceed())
        except MeshError as failed:
            error = failed.message
            raise
        finally:
            self._attempts.add(url, Attempt(begun, clock(), error))


@module(components=[BenchComponent])
class ObservedClient:
    """Calls only."""


class Client:
    """The running client.

    Attributes:
        attempts: what it sent.
    """

    def __init__(self, mesh: Mesh, attempts: Attempts) -> None:
        self._mesh = mesh
        self._running = True
        self.attempts = attempts

    def known(self) -> set[str]:
        """The servers that its selectors choose from at the moment."""
        runtime = self._mesh.runtime
        instances = runtime.destinations.to(runtime.catalog.component_of(PricingService)).instances
        return {address.url for each in instances for address in each.addresses}

    async def until(self, condition: Callable[[], object]) -> float:
        """When it was so, to half a millisecond."""
        async with asyncio.timeout(LONGEST):
            while not condition():  # noqa: ASYNC110 - it is the parts under test that change, and they tell nobody
                await asyncio.sleep(_LOOK)
        return clock()

    async def answered(self, url: str, since: float) -> float:
        """When the first answer of this server came."""
        await self.until(lambda: any(not each.error for each in self.attempts.to(url, since)))
        return next(each.ended for each in self.attempts.to(url, since) if not each.error)

    async def call(self) -> None:
        """Call as long as the client runs."""
        pricing, item = await self._mesh.get_service(PricingService, CHANNEL), bundle()
        while self._running:
            self.attempts.calls += 1
            try:
                await pricing.quote(item)
            except MeshError as error:
                self.attempts.failed.append(error.message)
            await asyncio.sleep(PAUSE)

    def stop(self) -> None:
        """Let the callers end."""
        self._running = False


@asynccontextmanager
async def running_client(consul: str) -> AsyncGenerator[Client, None]:
    """A mesh that is called all the time, by callers who pause so that the machine is not busy."""
    attempts = Attempts()
    settings = load_settings({"registry": setting(consul)}, environ={})
    async with Mesh(ObservedClient, settings=settings, overrides={Attempts: attempts}) as mesh:
        await mesh.wait_for(PricingService)
        client = Client(mesh, attempts)
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(client.call())
            try:
                yield client
            finally:
                client.stop()


@asynccontextmanager
async def announced(consul: str, loop: str, *, announce: bool = True) -> AsyncGenerator[Process, None]:
    """A server process, from when it is ready; it announces itself, or leaves that to others."""
    port = free_port()
    env = {
        "MESHCORE_MODULE": "benchmarks.served:ServedModule",
        "MESHCORE_ADVERTISE_URL": f"http://127.0.0.1:{port}",
        "MESHCORE_REGISTRY": setting(consul) if announce else "local:",
    }
    context = hypercorn("meshcore.app:app", loop, env, port, READYZ)
    process = await asyncio.to_thread(context.__enter__)  # it waits, and calls go on
    try:
        yield process
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def setting(consul: str) -> str:
    """The registry at the agent of that URL."""
    return f"consul://{consul.removeprefix('http://')}"


class Beside:
    """A bare blocking query on the same service: what Consul itself takes to tell of a change.

    Attributes:
        seen: when each server was listed first.
    """

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    async def watch(self, consul: str, name: str) -> None:
        """Ask until cancelled."""
        index = 0
        async with ConsulClient(read_config(consul)) as client:
            while True:
                found = await client.health(name, index=index, wait=LONGEST, timeout=2 * LONGEST)
                index = found.index
                for each in found.entries:
                    if (entry := entry_of(each)) is not None:
                        self.seen.setdefault(entry.instance.addresses[0].url, clock())
