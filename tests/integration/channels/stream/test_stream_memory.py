"""Streaming methods over `stream-msgpack` in memory: large items, slow readers, and what is left when streams end."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from meshcore import Code, LocalError, MeshError, Settings
from meshcore.channels.stream_connection import StreamConnection
from meshcore.testing import memory_mesh, run_virtually
from meshcore.wire.stream.limits import Limits
from tests.integration.mesh.streams.feeds import Feed, FeedImpl, FeedsModule
from tests.support.blobs import Blobs, BlobsImpl, BlobsModule

STREAMED = "stream-msgpack"
SIZE = 10_000
MOST = Limits().item_bytes // SIZE + 1
"""Items of that size that have credit."""
PIPES = 2 * 16 + 2
"""Items that wait in the pipes of caller and implementation, and with the two that pass them on."""


async def until(condition: Callable[[], object]) -> None:
    """Wait for a state."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


async def turn(times: int = 30) -> None:
    """Let all others run that can."""
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[StreamConnection]:
    """The connections that clients make."""
    made: list[StreamConnection] = []
    init = StreamConnection.__init__

    def note(self: StreamConnection, *arguments: Any) -> None:
        made.append(self)
        init(self, *arguments)

    monkeypatch.setattr(StreamConnection, "__init__", note)
    return made


async def test_a_slow_reader_keeps_memory_flat() -> None:
    """20 MB pass, and a small part of that is held at any time."""
    async with memory_mesh(BlobsModule, channel=STREAMED) as mesh:
        blobs, impl = await mesh.get_service(Blobs), await mesh.get(BlobsImpl)
        stream = blobs.endless(SIZE)
        await anext(stream)
        tracemalloc.start()
        try:
            for read in range(2, 2_000):
                assert len(await anext(stream)) == SIZE
                await turn(10)
                assert impl.given - read <= MOST + PIPES
            assert tracemalloc.get_traced_memory()[1] < 4_000_000
        finally:
            tracemalloc.stop()
            await stream.aclose()  # type: ignore[attr-defined]


async def test_a_slow_implementation_slows_its_caller() -> None:
    """The caller's generator is asked for the next item when there is room for it."""
    made = 0

    async def source(count: int) -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(count):
            made += 1
            yield bytes(SIZE)

    async with memory_mesh(BlobsModule, channel=STREAMED) as mesh:
        blobs, impl = await mesh.get_service(Blobs), await mesh.get(BlobsImpl)
        call = asyncio.ensure_future(blobs.take(source(500)))
        for allowed in range(1, 501):
            impl.allowed.release()
            await until(lambda allowed=allowed: impl.taken == allowed)  # type: ignore[misc]
            await turn(10)
            assert made - impl.taken <= MOST + PIPES
        assert await call == 500 * SIZE


async def test_a_stream_that_is_not_read_holds_up_nothing_else(connections: list[StreamConnection]) -> None:
    """Its writer waits; other streams and large items pass it on the same connection."""
    async with memory_mesh(BlobsModule, channel=STREAMED) as mesh:
        blobs, impl = await mesh.get_service(Blobs), await mesh.get(BlobsImpl)
        stopped = [blobs.endless(SIZE) for _ in range(10)]
        for stream in stopped:
            await anext(stream)
        before = -1
        while impl.given != before:  # it comes to a rest
            before = impl.given
            await turn(100)
        sizes = [1, 2_000_000, 0, 70_000] * 5
        assert [len(blob) async for blob in blobs.give(sizes)] == sizes

        async def source() -> AsyncIterator[bytes]:
            for size in sizes:
                yield bytes(size)

        assert [len(blob) async for blob in blobs.echo(source())] == sizes
        assert impl.given == before
        assert len(connections) == 1
        for stream in stopped:
            await stream.aclose()  # type: ignore[attr-defined]


async def test_an_item_that_is_too_large_ends_its_stream() -> None:
    """After the items before it; the error names the setting. The connection goes on."""

    async def source(*sizes: int) -> AsyncIterator[bytes]:
        for size in sizes:
            yield bytes(size)

    async with memory_mesh(BlobsModule, channel=STREAMED, settings=Settings(max_body=10_000)) as mesh:
        blobs, impl = await mesh.get_service(Blobs), await mesh.get(BlobsImpl)
        stream = blobs.give([5, 9_990, 10_000])
        assert [len(await anext(stream)) for _ in range(2)] == [5, 9_990]
        text = r"an item of the answer to blobs\.give is larger than 10000 bytes \(setting max_body\)"
        with pytest.raises(MeshError, match=text) as caught:
            await anext(stream)
        assert (caught.value.code, caught.value.retryable) == (Code.RESOURCE_EXHAUSTED, False)
        impl.allowed.release()
        text = r"an item of 'blobs': it has 10003 bytes, more than the server takes, 10000 \(setting max_body"
        with pytest.raises(LocalError, match=text) as refused:
            await blobs.take(source(5, 10_000))
        assert refused.value.code is Code.RESOURCE_EXHAUSTED
        assert [len(blob) async for blob in blobs.echo(source(1, 2))] == [1, 2]


async def test_streams_leave_nothing(connections: list[StreamConnection]) -> None:
    """However they end: neither a call, nor bytes for which the peer had credit."""

    async def source() -> AsyncIterator[bytes]:
        while True:
            yield bytes(SIZE)

    async def leave(number: int) -> None:
        stream = blobs.echo(source()) if number % 2 else blobs.endless(SIZE)
        for _ in range(number % 40):
            await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

    async with memory_mesh(BlobsModule, channel=STREAMED) as mesh:
        blobs = await mesh.get_service(Blobs)
        for _ in range(3):
            await asyncio.gather(*map(leave, range(100)))
            sizes = [2_000_000] * 20  # more than all the credit of a connection
            assert [len(blob) async for blob in blobs.give(sizes)] == sizes
        machine = connections[0]._machine
        await until(lambda: machine.calls == 0)
        assert (machine.held, machine.waiting) == (0, 0)
        assert not connections[0]._streaming
        assert len(connections) == 1


def test_leaving_stops_the_implementation_at_once() -> None:
    """Whatever it waits for, and not when the server looks after its calls, every few hundredths of a second."""

    async def main() -> None:
        async with memory_mesh(FeedsModule, channel=STREAMED) as mesh:
            feed, log = await mesh.get_service(Feed), (await mesh.get(FeedImpl)).log
            stream = feed.stuck(1)
            assert await anext(stream) == 0
            began = time.monotonic()
            await stream.aclose()  # type: ignore[attr-defined]
            while not log.ended:
                await asyncio.sleep(0.0001)
            assert time.monotonic() - began < 0.002

    run_virtually(main())
