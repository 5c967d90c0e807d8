"""The channel `stream-msgpack` in memory and in virtual time: what a call becomes, and what ends a connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial, wraps
from typing import Any

import msgspec
import pytest

from meshcore import Code, CommunicationError, LocalError, MeshError, RemoteError, Settings
from meshcore.server.server import Server
from meshcore.stream.driver import PING_INTERVAL, PING_TIMEOUT
from meshcore.telemetry.tables import ServedCalls
from meshcore.testing import memory_mesh, run_virtually
from meshcore.testing.loopback import Loopback
from meshcore.testing.memory_websocket import MemoryWebSocket
from meshcore.wire.stream.limits import Limits
from tests.integration.mesh.streams.feeds import Chat, Feed, FeedsModule
from tests.support.depot import Depot, DepotImpl, DepotModule

STREAMED = "stream-msgpack"
SETTINGS = Settings(registry="local:", adaptive_limit=False, resilience=False, timeout=60.0, max_body=1_000_000)


def virtually(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on a loop with virtual time."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        run_virtually(main())

    return run


def sockets(monkeypatch: pytest.MonkeyPatch) -> list[MemoryWebSocket]:
    """Collect the connections that are made."""
    made: list[MemoryWebSocket] = []
    init = MemoryWebSocket.__init__

    def noting(self: MemoryWebSocket, *arguments: Any) -> None:
        init(self, *arguments)
        made.append(self)

    monkeypatch.setattr(MemoryWebSocket, "__init__", noting)
    return made


async def failing(call: Awaitable[object]) -> MeshError:
    """Return the error that a call ends with."""
    with pytest.raises(MeshError) as caught:
        await call
    return caught.value


@virtually
async def test_all_calls_take_one_connection(monkeypatch):
    """Calls at the same time, and later ones, go over the connection that the first has made."""
    made = sockets(monkeypatch)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=SETTINGS) as mesh:
        depot = await mesh.get_service(Depot)
        texts = [str(number) for number in range(100)]
        assert await asyncio.gather(*map(depot.echo, texts)) == texts
        assert (await depot.facts()).peer == "memory"
        assert len(made) == 1
        assert mesh.requests == 0


@virtually
async def test_sizes(monkeypatch):
    """What is too large is RESOURCE_EXHAUSTED, in both directions; what is large passes, and so do later calls."""
    made = sockets(monkeypatch)
    counted = ServedCalls()
    monkeypatch.setattr(Server, "served", property(lambda _: counted, lambda *_: None), raising=False)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=SETTINGS) as mesh:
        depot = await mesh.get_service(Depot)
        assert len(await depot.large(900_000)) == 900_000
        assert len(await depot.echo("x" * 900_000)) == 900_000
        for call, family in ((depot.echo("x" * 1_000_001), LocalError), (depot.large(1_000_001), MeshError)):
            error = await failing(call)
            assert isinstance(error, family)
            assert (error.code, error.retryable) == (Code.RESOURCE_EXHAUSTED, False)
            assert "(setting max_body)" in error.message
        assert await depot.echo("afterwards") == "afterwards"
        assert len(made) == 1
    assert {calls.method: (calls.ok.count, list(calls.failures)) for _, calls in counted} == {
        "depot/large": (1, [("resource_exhausted", "resource_exhausted")]),
        "depot/echo": (2, []),
    }


@virtually
async def test_large_answers_are_no_reason_to_refuse_small_calls(monkeypatch):
    """Unless they are half of what the server holds for all its clients."""
    made = sockets(monkeypatch)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=SETTINGS) as mesh:
        depot = await mesh.get_service(Depot)
        large = [asyncio.ensure_future(depot.large(900_000)) for _ in range(40)]
        small = 0
        while not all(task.done() for task in large):
            assert await depot.echo("small") == "small"
            small += 1
        assert {len(task.result()) for task in large} == {900_000}
        assert small > 1
        assert len(made) == 1


@virtually
async def test_a_call_that_is_given_up(monkeypatch):
    """It is cancelled at the server, too, well before its deadline; its connection goes on."""
    made = sockets(monkeypatch)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=SETTINGS) as mesh:
        depot, impl = await mesh.get_service(Depot), await mesh.get(DepotImpl)
        for end in ("cancel", "deadline"):
            task = asyncio.ensure_future(depot.hold(end, 600.0))
            while not impl.counts.get(end):
                await asyncio.sleep(0.01)
            began = time.monotonic()
            if end == "cancel":
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
            else:
                assert (await failing(task)).code is Code.DEADLINE_EXCEEDED
            while impl.counts[end] != [1, 1, 0]:
                await asyncio.sleep(0.01)
                assert time.monotonic() - began < 61
        assert time.monotonic() < 62
        assert await depot.echo("afterwards") == "afterwards"
        assert len(made) == 1


@virtually
async def test_a_peer_that_is_silent(monkeypatch):
    """Calls to a peer that is gone without a word fail when a ping has no answer. The next finds a new way."""
    made = sockets(monkeypatch)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=SETTINGS) as mesh:
        depot = await mesh.get_service(Depot)
        assert await depot.echo("connected") == "connected"
        # Nobody reads these.
        made[0]._to_server, made[0]._to_client = asyncio.Queue(), asyncio.Queue()
        began = time.monotonic()
        error = await failing(depot.echo("into nothing"))
        assert (error.code, error.processed) == (Code.UNAVAILABLE, True)
        assert time.monotonic() - began <= PING_INTERVAL + PING_TIMEOUT + 1
        assert await depot.echo("again") == "again"
        assert len(made) == 2


@virtually
async def test_a_peer_that_freezes_has_a_stream_again_when_it_goes_on(monkeypatch):
    """Calls go over dispatch meanwhile, for no longer; those that only a stream can carry try one at once."""
    made, frozen, dial = sockets(monkeypatch), asyncio.Event(), Loopback.dial

    async def freezing(self: Loopback, url: Any) -> Any:
        while frozen.is_set():
            await asyncio.sleep(0.05)
        return await dial(self, url)

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    monkeypatch.setattr(Loopback, "dial", freezing)
    async with memory_mesh(FeedsModule, channel=STREAMED, settings=SETTINGS) as mesh:
        feed, chat = await mesh.get_service(Feed), await mesh.get_service(Chat)
        for _ in range(2):
            assert await feed.first(numbers()) == 0
            frozen.set()
            made[-1].abort()
            await asyncio.sleep(0.1)
            requests = mesh.requests
            for _ in range(5):
                await asyncio.sleep(2)
                await feed.unary("x")
            assert mesh.requests > requests
            frozen.clear()
            assert [item async for item in chat.double(numbers())] == [0, 2, 4]
            requests = mesh.requests
            await feed.unary("x")
            assert mesh.requests == requests


@virtually
async def test_a_mesh_that_stops_with_calls_in_flight(monkeypatch, caplog):
    """They end at once, open nothing any more, and nothing is said of it."""
    made = sockets(monkeypatch)
    settings = msgspec.structs.replace(SETTINGS, resilience=True)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=settings) as mesh:
        depot = await mesh.get_service(Depot)
        assert await depot.echo("connected") == "connected"
        made[0]._to_server, made[0]._to_client = asyncio.Queue(), asyncio.Queue()  # nobody reads these
        tasks = [asyncio.ensure_future(depot.echo("x")) for _ in range(20)]
        await asyncio.sleep(0.1)
        began = time.monotonic()
    done, _ = await asyncio.wait(tasks, timeout=100)
    assert {str(task.exception()) for task in done} == {
        "failed_precondition: depot.echo was called, but the mesh has stopped"
    }
    assert len(done) == 20
    assert time.monotonic() - began < 5
    assert len(made) == 1
    assert not caplog.records


@virtually
async def test_an_idle_connection_stays(monkeypatch):
    """Pings keep it."""
    made = sockets(monkeypatch)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=SETTINGS) as mesh:
        depot = await mesh.get_service(Depot)
        for _ in range(2):
            assert await depot.echo("there") == "there"
            await asyncio.sleep(200)
        assert len(made) == 1


@virtually
async def test_a_connection_that_breaks(monkeypatch):
    """What was sent may have been processed, and the server cancels it."""
    made = sockets(monkeypatch)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=SETTINGS) as mesh:
        depot, impl = await mesh.get_service(Depot), await mesh.get(DepotImpl)
        task = asyncio.ensure_future(depot.hold("broken", 600.0))
        while not impl.counts.get("broken"):
            await asyncio.sleep(0.01)
        made[0].abort()
        error = await failing(task)
        assert (error.code, error.processed) == (Code.UNAVAILABLE, True)
        while impl.counts["broken"] != [1, 1, 0]:
            await asyncio.sleep(0.01)
        assert time.monotonic() < 5
        assert await depot.echo("again") == "again"
        assert len(made) == 2


@virtually
async def test_a_server_that_stops(monkeypatch):
    """What it has begun is answered. A new call is refused as not processed, and the connection is closed soon."""
    made = sockets(monkeypatch)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=SETTINGS) as mesh:
        depot, impl = await mesh.get_service(Depot), await mesh.get(DepotImpl)
        task = asyncio.ensure_future(depot.hold("held", 3.0))
        while not impl.counts.get("held"):
            await asyncio.sleep(0.01)
        server = mesh.servers[0]._server
        assert server is not None
        draining = asyncio.ensure_future(server.drain(10.0, asyncio.Event()))
        await asyncio.sleep(0.1)
        for _ in range(3):
            error = await failing(depot.echo("too late"))
            assert isinstance(error, RemoteError)
            assert (error.code, error.processed) == (Code.UNAVAILABLE, False)
        assert await task > 0
        assert impl.counts["held"] == [1, 0, 1]
        assert await draining == 0
        await asyncio.wait_for(made[0].over, 2.0)


@virtually
async def test_a_connection_that_is_full(monkeypatch):
    """A call that finds no room on it was not sent. With room again, calls go over the same connection."""
    made = sockets(monkeypatch)
    monkeypatch.setattr(Limits, "of_message", partial(Limits.of_message, calls=1))
    async with memory_mesh(DepotModule, channel=STREAMED, settings=SETTINGS) as mesh:
        depot, impl = await mesh.get_service(Depot), await mesh.get(DepotImpl)
        task = asyncio.ensure_future(depot.hold("full", 3.0))
        while not impl.counts.get("full"):
            await asyncio.sleep(0.01)
        error = await failing(depot.echo("too many"))
        assert isinstance(error, CommunicationError)
        assert (error.code, error.processed) == (Code.RESOURCE_EXHAUSTED, False)
        assert "has all calls that it takes" in error.message
        await task
        assert await depot.echo("again") == "again"
        assert len(made) == 1


@virtually
async def test_a_mesh_that_stops(monkeypatch):
    """Its calls in flight end, and so does the connection at the server."""
    made = sockets(monkeypatch)
    async with memory_mesh(DepotModule, channel=STREAMED, settings=SETTINGS) as mesh:
        depot, impl = await mesh.get_service(Depot), await mesh.get(DepotImpl)
        task = asyncio.ensure_future(depot.hold("left", 600.0))
        while not impl.counts.get("left"):
            await asyncio.sleep(0.01)
    assert isinstance(await failing(task), MeshError)
    await asyncio.wait_for(made[0].over, 2.0)
