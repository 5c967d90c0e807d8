"""Streaming methods over the channel `stream-msgpack`: what it carries beyond dispatch, and what ends a stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from meshcore import Code, CommunicationError, LocalError, Mesh, MeshError, Policy, Settings, awaitable, with_policy
from meshcore.channels.websocket import NoStreamError
from meshcore.core.call import Call
from meshcore.declare.advice import Invocation, advice, around, methods
from meshcore.declare.injection import module
from meshcore.ports.channel import Channel
from meshcore.wire.endpoints import STREAM, STREAM_PROTOCOL
from meshcore.wire.stream.connection import Connection
from meshcore.wire.stream.events import Answered, Erred, Event, Ready
from tests.integration.channels.test_streams import Calling, outcome, prices, serving, until
from tests.integration.mesh.streams.feeds import BlockingFeed, BlockingFeedImpl, Chat, Feed
from tests.support.tunnel import tunnel

STREAMED = "stream-msgpack"


@asynccontextmanager
async def meeting(*urls: str, module: type = Calling, **values: Any) -> AsyncGenerator[Mesh]:
    """A client of servers over the stream."""
    registry = "static:feeds=" + ",".join(f"{STREAMED}({url})" for url in urls)
    async with Mesh(module, settings=Settings(registry=registry, **values)) as mesh:
        yield mesh


async def numbers(count: int) -> AsyncIterator[int]:
    """Numbers of a caller."""
    for number in range(count):
        yield number


async def wait(stream: Any) -> None:
    """Read a stream to its end, and close it if that is never reached."""
    async with aclosing(stream):
        async for _ in stream:
            pass


async def failure(call: Awaitable[object]) -> MeshError | None:
    """What a call fails with, None if it does not."""
    try:
        await call
    except MeshError as error:
        return error
    return None


async def forever() -> AsyncIterator[Any]:
    """Items of a caller that never come."""
    await asyncio.Event().wait()
    yield


async def test_items_go_both_ways_at_the_same_time() -> None:
    """Each item is answered before the next one is made."""
    answers: asyncio.Queue[int] = asyncio.Queue()

    async def questions() -> AsyncIterator[int]:
        yield 0
        for _ in range(300):
            yield await answers.get()

    async with serving() as (url, _, log), meeting(url) as mesh:
        chat = await mesh.get_service(Chat)
        got: list[int] = []
        async for item in chat.double(questions()):
            got.append(item)
            answers.put_nowait(len(got))
        assert got == [2 * number for number in range(301)]
        assert [item async for item in chat.double(numbers(0))] == []
        assert log.ended == ["double", "double"]


async def test_an_implementation_in_a_thread_streams() -> None:
    """In all shapes; it ends when its caller leaves."""
    async with serving() as (url, app, _), meeting(url) as mesh:
        feed = await mesh.get_service(BlockingFeed)
        log = (await app.mesh.get(BlockingFeedImpl)).log
        assert [price.cents async for price in awaitable(feed.watch)("tea", 600)] == list(range(600))
        assert await awaitable(feed.total)(prices(*range(600))) == sum(range(600))
        assert await awaitable(feed.first)(numbers(10**9)) == 0
        assert [item async for item in awaitable(feed.double)(numbers(600))] == list(range(0, 1200, 2))
        async with aclosing(awaitable(feed.endless)()) as stream:
            assert [await anext(stream), await anext(stream)] == [1, 2]
        await until(lambda: "endless" in log.ended)
        log.ended.clear()
        task = asyncio.ensure_future(wait(awaitable(feed.double)(forever())))
        await until(lambda: log.begun == ["double"] * 2)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: log.ended == ["double"])


async def test_what_ends_a_stream_ends_its_implementation_and_not_the_connection() -> None:
    """A break, an error in the body, a cancellation and a deadline, in all shapes."""

    async def read(stream: AsyncIterator[Any]) -> None:
        async for _ in stream:
            raise ZeroDivisionError

    async with serving() as (url, _, log), tunnel(url) as way, meeting(way.url) as mesh:
        feed, chat = await mesh.get_service(Feed), await mesh.get_service(Chat)
        with pytest.raises(ZeroDivisionError):
            await read(feed.endless())
        await until(lambda: log.ended == ["endless"])
        for begin, name in (
            (lambda: wait(feed.stuck(1)), "stuck"),
            (lambda: feed.total(forever()), "total"),
            (lambda: wait(chat.double(forever())), "double"),
        ):
            log.ended.clear()
            task = asyncio.ensure_future(begin())
            await until(lambda name=name: name in log.begun)  # type: ignore[misc]
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            await until(lambda name=name: log.ended == [name])  # type: ignore[misc]
        log.ended.clear()
        short = with_policy(feed, Policy(timeout=1.0)), with_policy(chat, Policy(timeout=1.0))
        for call in (wait(short[0].stuck(1)), short[0].total(forever()), wait(short[1].double(forever()))):
            with pytest.raises(CommunicationError) as caught:
                await call
            assert caught.value.code is Code.DEADLINE_EXCEEDED
        await until(lambda: sorted(log.ended) == ["double", "stuck", "total"])
        assert await feed.unary("on the same connection") == "on the same connection"
        assert way.connections == 1


async def test_a_connection_that_breaks_in_mid_stream() -> None:
    """The items that came are read first, then there is an error. The call is not sent again, though it may be."""
    async with serving() as (url, _, log), tunnel(url) as way, meeting(way.url) as mesh:
        feed, chat = await mesh.get_service(Feed), await mesh.get_service(Chat)
        stream = feed.watch("tea", 10**6)
        got = [(await anext(stream)).cents for _ in range(5)]
        way.cut()
        rest, error = await outcome(stream)
        got += [price.cents for price in rest]
        assert got == list(range(len(got)))
        assert len(got) < 1000
        assert isinstance(error, CommunicationError)
        assert (error.code, error.processed, len(error.attempts)) == (Code.UNAVAILABLE, True, 1)
        assert "the connection broke" in error.message
        await until(lambda: log.ended == ["watch"])

        async def one() -> AsyncIterator[int]:
            yield 1
            await asyncio.Event().wait()

        both = chat.double(one())
        assert await anext(both) == 2
        way.cut()
        _, error = await outcome(both)
        assert isinstance(error, CommunicationError)
        assert (error.code, len(error.attempts)) == (Code.UNAVAILABLE, 1)
        await until(lambda: log.ended == ["watch", "double"])
        assert [price.cents async for price in feed.watch("tea")] == [0, 1, 2]
        assert way.connections == 3


async def test_a_drain_lets_streams_go_on() -> None:
    """For the time that it has. New calls are not sent to this instance, and the drain ends with the last stream."""
    answers: asyncio.Queue[int] = asyncio.Queue()

    async def questions() -> AsyncIterator[int]:
        while (number := await answers.get()) >= 0:
            yield number

    async with serving(drain=60.0) as (url, app, _), meeting(url, resilience=False) as mesh:
        feed, chat = await mesh.get_service(Feed), await mesh.get_service(Chat)
        stream = chat.double(questions())
        answers.put_nowait(1)
        assert await anext(stream) == 2
        stopping = asyncio.create_task(app.stop())
        async with asyncio.timeout(20):
            while (error := await failure(feed.unary("too late"))) is None:
                pass
            assert (error.code, error.processed) == (Code.UNAVAILABLE, False)
            answers.put_nowait(2)
            assert await anext(stream) == 4
            answers.put_nowait(-1)
            assert [item async for item in stream] == []
            await stopping


async def test_where_there_is_no_stream() -> None:
    """What dispatch can carry goes over dispatch. What it cannot is an error that says why, before anything is sent."""
    channels: list[str] = []

    @advice
    class Refusing:
        @around(methods().named("dial").of_type(Channel))
        async def dial(self, invocation: Invocation) -> Any:
            del invocation
            raise NoStreamError("no WebSocket passes here")

        @around(methods().named("invoke_stream").of_type(Channel))
        async def invoke_stream(self, invocation: Invocation) -> Any:
            call: Call = invocation.args[1]
            try:
                return await invocation.proceed()
            finally:
                channels.append(call.trail[-1].channel)

    @module(imports=[Calling], provides=[Refusing])
    class Apart: ...

    async with serving() as (url, _, log), meeting(url, module=Apart) as mesh:
        feed, chat = await mesh.get_service(Feed), await mesh.get_service(Chat)
        assert [price.cents async for price in feed.watch("tea")] == [0, 1, 2]
        assert await feed.total(prices(1, 2)) == 3
        assert channels == ["dispatch-msgpack"] * 2
        _, error = await outcome(chat.double(numbers(3)))
        assert isinstance(error, LocalError)
        assert (error.code, error.processed) == (Code.UNIMPLEMENTED, False)
        assert f"needs a stream, and there is none to {url}: no WebSocket passes here" in error.message
        assert "double" not in log.ended


async def test_another_instance_may_have_a_stream() -> None:
    """A call that only a stream can carry is sent there."""

    @advice
    class Refusing:
        @around(methods().named("dial").of_type(Channel))
        def dial(self, invocation: Invocation) -> Any:
            if str(invocation.args[1]).startswith(without):
                raise NoStreamError("no WebSocket passes here")
            return invocation.proceed()

    @module(imports=[Calling], provides=[Refusing])
    class Apart: ...

    async with (
        serving() as (without, _, log),
        serving() as (url, _, other),
        meeting(without, url, module=Apart) as mesh,
    ):
        chat = await mesh.get_service(Chat)
        for _ in range(10):
            assert [item async for item in chat.double(numbers(3))] == [0, 2, 4]
        assert (log.begun, other.begun) == ([], ["double"] * 10)


@pytest.mark.parametrize(
    ("method", "arguments", "items", "text"),
    [
        ("feed:total", [], False, "the call has no items, feed.total takes a stream of them"),
        ("feed:watch", ["tea"], True, "the call has items, feed.watch takes none"),
        ("feed:unary", ["text"], True, "the call has items, feed.unary takes none"),
        ("feed:wach", ["tea"], True, "no method"),
        ("feed:watch", [5], False, "$.args[0]"),
    ],
)
async def test_a_call_that_does_not_fit_its_method(
    method: str, arguments: list[Any], *, items: bool, text: str
) -> None:
    """It is refused with an error that names what is wrong, and the next call is answered."""
    async with (
        serving() as (url, _, log),
        aiohttp.ClientSession() as session,
        session.ws_connect(url + STREAM, protocols=(STREAM_PROTOCOL,)) as websocket,
        asyncio.timeout(20),
    ):
        machine = Connection(client=True, now=time.monotonic())
        ends: list[Event] = []
        while len(ends) < 2:
            await websocket.send_bytes(machine.data_to_send())
            events = machine.feed(await websocket.receive_bytes(), time.monotonic())
            ends += [event for event in events if isinstance(event, Erred | Answered)]
            if any(isinstance(event, Ready) for event in events):
                bad = machine.request(f"feeds:{method}", msgspec.msgpack.encode(arguments), items=items)
                if items:
                    machine.send_item(bad, b"\x01")
                machine.request("feeds:feed:unary", msgspec.msgpack.encode(["well"]))
        first, second = sorted(ends, key=lambda event: isinstance(event, Answered))
        assert isinstance(first, Erred)
        assert text in msgspec.msgpack.decode(first.payload)["message"]
        assert isinstance(second, Answered)
        assert log.begun == log.ended == []


async def test_an_item_that_does_not_fit_is_an_error_of_the_implementations_loop() -> None:
    """The client of another version of the interface gets it as INVALID_ARGUMENT."""
    async with (
        serving() as (url, _, log),
        aiohttp.ClientSession() as session,
        session.ws_connect(url + STREAM, protocols=(STREAM_PROTOCOL,)) as websocket,
        asyncio.timeout(20),
    ):
        machine = Connection(client=True, now=time.monotonic())
        error: Erred | None = None
        while error is None:
            await websocket.send_bytes(machine.data_to_send())
            for event in machine.feed(await websocket.receive_bytes(), time.monotonic()):
                match event:
                    case Ready():
                        number = machine.request("feeds:feed:total", msgspec.msgpack.encode([]), items=True)
                        machine.send_item(number, msgspec.msgpack.encode({"sku": "tea", "cents": "many"}))
                    case Erred():
                        error = event
        body = msgspec.msgpack.decode(error.payload)
        assert body["code"] == "invalid_argument"
        assert "an item of 'prices': $.cents" in body["message"]
        assert log.ended == ["total"]
