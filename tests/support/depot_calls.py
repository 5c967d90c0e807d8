"""A client of `depot` over the stream, which keeps the trail of its calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from meshcore import Interceptors, Mesh, create, load_settings, module
from meshcore.core.attempt import Attempt
from meshcore.core.call import Call, Handler
from tests.support.depot import Depot
from tests.support.depot_client import DepotClient

MODULE = "tests.support.depot:DepotModule"
STREAMED = "stream-msgpack"


class Calling:
    """A client of some servers.

    Attributes:
        depot: the proxy.
        mesh: the client's.
        trail: all attempts, in the order of their calls' ends.
    """

    def __init__(self, mesh: Mesh, depot: Depot, trail: list[Attempt]) -> None:
        self.mesh = mesh
        self.depot = depot
        self.trail = trail

    @property
    def channels(self) -> set[str]:
        """Over which the attempts went."""
        return {attempt.channel for attempt in self.trail}


@asynccontextmanager
async def calling(
    *urls: str, provides: Any = (), headers: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Calling]:
    """Call the servers at these URLs over the stream."""
    trail: list[Attempt] = []

    async def note(handler: Handler, call: Call) -> Any:
        try:
            return await handler(call)
        finally:
            trail.extend(call.trail)

    @module(imports=[DepotClient], provides=provides)
    class Client:
        @create()
        def interceptors(self) -> Interceptors:
            return Interceptors(client=[note])

    addresses = ",".join(f"{STREAMED}({url})" for url in urls)
    settings = load_settings({"registry": f"static:depot-component={addresses}", **options}, environ={})
    async with Mesh(Client, settings=settings) as mesh:
        yield Calling(mesh, await mesh.get_service(Depot, STREAMED), trail)


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 20.0) -> None:
    """Wait for a state, with a time limit."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)
