"""Streaming methods over the channel `stream-msgpack`: what it carries beyond dispatch, and what ends a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from meshcore import (
    Mesh,
    Settings,
    awaitable,
)
from tests.integration.channels.test_streams import Calling, prices, serving, until
from tests.integration.mesh.feeds import BlockingFeed, BlockingFeedImpl, Chat

STREAMED = "stream-msgpack"
CREDIT = 256
"""Items of a stream that are on their way at once."""
PIPES = 2 * 16 + 2
"""Items that wait in the two processes beside them."""


@asynccontextmanager
async def meeting(service: type, *urls: str, module: type = Calling, **values: Any) -> AsyncGenerator[Any]:
    """A client of servers over the stream."""
    registry = "static:feeds=" + ",".join(f"{STREAMED}({url})" for url in urls)
    async with Mesh(module, settings=Settings(registry=registry, **values)) as mesh:
        yield await mesh.get_service(service)


async def test_items_go_both_ways_at_the_same_time() -> None:
    """Each item is answered before the next one is made."""
    answers: asyncio.Queue[int] = asyncio.Queue()

    async def questions() -> AsyncIterator[int]:
        yield 1
        for _ in range(300):
            yield await answers.get()

    async with serving() as (url, _, log), meeting(Chat, url) as chat:
        got: list[int] = []
        async for item in chat.double(questions()):
            got.append(item)
            answers.put_nowait(len(got))
        assert got == [2, *(2 * number for number in range(1, 301))]
        assert [item async for item in chat.double(number async for number in _numbers(0))] == []
        assert log.ended == ["double", "double"]


async def _numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_an_implementation_in_a_thread_streams() -> None:
    """In all shapes; it ends when its caller leaves."""
    async with serving() as (url, app, _), meeting(BlockingFeed, url) as feed:
        log = (await app.mesh.get(BlockingFeedImpl)).log
        assert [price.cents async for price in awaitable(feed.watch)("tea", 600)] == list(range(600))
        assert await awaitable(feed.total)(prices(*range(600))) == sum(range(600))
        assert await awaitable(feed.first)(_numbers(10**9)) == 0
        assert [item async for item in awaitable(feed.double)(_numbers(600))] == list(range(0, 1200, 2))
        async with aclosing(awaitable(feed.endless)()) as stream:
            assert [await anext(stream), await anext(stream)] == [1, 2]
        await until(lambda: "endless" in log.ended)
