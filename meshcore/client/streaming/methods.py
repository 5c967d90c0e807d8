"""What the streaming methods of a proxy do when they are called. `client/proxy.py` generates them."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from meshcore.client.bridge import Bridge
from meshcore.client.streaming.feed import Feed
from meshcore.client.streaming.item_stream import BlockingItemStream, ItemStream
from meshcore.client.streaming.run import StreamRun, run_call
from meshcore.core.call import Call, StreamHandler
from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError

FORM = "_mesh_stream_form"
"""The attribute of a generated method: "async" or "blocking"."""


def opener(method: Method, *, is_async: bool) -> Callable[[StreamHandler, Bridge, Call], Any]:
    """What a generated method calls, and what it returns then.

    Args:
        method: of the interface.
        is_async: whether the generated method is for `async for` and `await`.
    """
    if method.yields:
        return _open if is_async else _open_blocking
    return _result if is_async else _blocking_result


def _open(handler: StreamHandler, bridge: Bridge, call: Call) -> ItemStream:
    return ItemStream(StreamRun(handler, *_split(call), bridge.loop), bridge)


def _open_blocking(handler: StreamHandler, bridge: Bridge, call: Call) -> BlockingItemStream:
    return BlockingItemStream(StreamRun(handler, *_split(call), bridge.loop), bridge)


async def _result(handler: StreamHandler, bridge: Bridge, call: Call) -> Any:
    call, feed = _split(call)
    run = functools.partial(run_call, handler, call, _no_items, feed, bridge.loop)
    if not bridge.is_here and feed is not None:
        feed.start(bridge.loop)
    return await bridge.relay(call.method, run)


def _blocking_result(handler: StreamHandler, bridge: Bridge, call: Call) -> Any:
    call, feed = _split(call)
    if feed is not None and asyncio._get_running_loop() is None:  # noqa: SLF001 - get_running_loop() raises if none
        feed.start(bridge.loop)
    return bridge.run(call.method, run_call(handler, call, _no_items, feed, bridge.loop))


def _split(call: Call) -> tuple[Call, Feed | None]:
    """The call without the caller's stream, and that stream."""
    at = call.method.stream_at
    if at is None:
        return call, None
    return call.with_items(lambda _: None), Feed(call.method, call.arguments[at])


async def _no_items(item: Any) -> None:
    raise LocalError(Code.FAILED_PRECONDITION, f"{type(item).__name__} was sent, but the method streams no result")


def blocking_fake(method: Callable[..., AsyncIterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The blocking form of a streaming method of another object than a proxy, such as a fake in a test."""

    @functools.wraps(method)
    def run(*arguments: Any, **keywords: Any) -> Iterator[Any]:
        items = method(*arguments, **keywords)
        with asyncio.Runner() as runner:
            try:
                while True:
                    try:
                        yield runner.run(anext(items))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                    except StopAsyncIteration:
                        return
            finally:
                if inspect.isasyncgen(items):
                    runner.run(items.aclose())

    return run


def awaitable_fake(method: Callable[..., Iterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    """The async form of a streaming method of another object than a proxy, such as a fake in a test."""
    end = object()

    @functools.wraps(method)
    async def run(*arguments: Any, **keywords: Any) -> AsyncIterator[Any]:
        items = method(*arguments, **keywords)
        try:
            while (item := await asyncio.to_thread(next, items, end)) is not end:
                yield item
        finally:
            if inspect.isgenerator(items):
                await asyncio.to_thread(items.close)

    return run
