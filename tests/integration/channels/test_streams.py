"""Streams between processes: what channels carry is what a stream within a process is, and is ended as that is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from meshcore import (
    Call,
    Code,
    CommunicationError,
    Handler,
    Interceptors,
    LocalError,
    Mesh,
    MeshApp,
    MeshError,
    Policy,
    Settings,
    create,
    module,
    with_policy,
)
from meshcore.testing.servers import answering, refusing, served
from tests.integration.mesh.streams.feeds import (
    BlockingFeed,
    Chat,
    Feed,
    FeedImpl,
    Feeds,
    FeedsModule,
    Log,
    Price,
    SoldOut,
    outcome,
    prices,
)

CHANNELS = pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "stream-msgpack", "rest"])


TOTAL = b'{"method":"feeds:feed:total","args":[]}\n'


@module(components=[Feeds])
class Calling: ...


@asynccontextmanager
async def serving(module: type = FeedsModule, **values: Any) -> AsyncGenerator[tuple[str, MeshApp, Log]]:
    """A server, its application, and what its implementations did."""
    apps: list[MeshApp] = []

    def make(url: str) -> MeshApp:
        settings = Settings(registry="local:", advertise_url=url, **{"drain": 1.0, "adaptive_limit": False, **values})
        apps.append(MeshApp(module, settings=settings))
        return apps[0]

    async with served(make) as url:
        yield url, apps[0], (await apps[0].mesh.get(FeedImpl)).log


@asynccontextmanager
async def calling(channel: str, *urls: str, module: type = Calling, **values: Any) -> AsyncGenerator[Feed]:
    """A client of servers, and nothing left of it afterwards."""
    registry = "static:feeds=" + ",".join(f"{channel}({url})" for url in urls)
    async with Mesh(module, settings=Settings(registry=registry, **values)) as mesh:
        yield await mesh.get_service(Feed)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a state."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@CHANNELS
async def test_items_come_and_go(channel: str) -> None:
    """Typed, in order, beside calls that do not stream."""
    async with serving() as (url, _, log), calling(channel, url) as feed:
        assert [price async for price in feed.watch("tea", 500)] == [Price("tea", each) for each in range(500)]
        assert [price async for price in feed.watch("tea", count=0)] == []
        assert await feed.total(prices(*range(500)), start=1) == 1 + sum(range(500))
        assert await feed.total(prices()) == 0
        assert await feed.unary("text") == "text"
        peer, component, user = [item async for item in feed.peer()]
        assert (peer, component, user) == ("127.0.0.1", "feeds", "nobody")
        assert log.ended == ["watch", "watch", "total", "total"]


@CHANNELS
async def test_an_error_comes_as_itself(channel: str) -> None:
    """After the items before it; also as the very first."""
    async with serving() as (url, _, _), calling(channel, url) as feed:
        for count in (0, 30):
            got, error = await outcome(feed.watch("tea", count, sold_out=True))
            assert len(got) == count
            assert isinstance(error, SoldOut)
            assert error.sku == "tea"


@CHANNELS
async def test_leaving_ends_the_generator_of_the_server(channel: str) -> None:
    """While it writes, and while it waits for something to write."""
    async with serving() as (url, app, log), calling(channel, url) as feed:
        async for item in feed.endless():
            if item == 100:
                break
        await until(lambda: log.ended == ["endless"])
        stream = feed.stuck(1)
        assert await anext(stream) == 0
        del stream
        await until(lambda: log.ended == ["endless", "stuck"])
        assert app.report is not None


@CHANNELS
async def test_a_slow_reader_slows_the_server(channel: str) -> None:
    """What is on its way is bounded by the buffers of the connection."""
    async with serving() as (url, _, log), calling(channel, url) as feed:
        stream = feed.endless()
        await anext(stream)
        before = -1
        while log.written != before:  # it comes to a rest
            before = log.written
            await asyncio.sleep(0.2)
        assert before < 2_000_000
        await stream.aclose()
        await until(lambda: log.ended == ["endless"])


@CHANNELS
async def test_an_answer_before_the_end_of_the_items_ends_them(channel: str) -> None:
    """The caller's generator is closed."""
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            for item in range(10**9):
                yield item
        finally:
            closed.set()

    async with serving() as (url, _, _), calling(channel, url) as feed:
        assert await feed.first(endless()) == 0
        async with asyncio.timeout(5):
            await closed.wait()


@CHANNELS
async def test_an_error_of_the_callers_items_is_the_error_of_the_call(channel: str) -> None:
    """As itself. The server's implementation ends, too."""

    async def broken() -> AsyncIterator[Price]:
        yield Price("tea", 1)
        raise ZeroDivisionError

    async def misfit() -> AsyncIterator[Any]:
        yield Price("tea", 1)
        yield object()

    async with serving() as (url, _, log), calling(channel, url) as feed:
        with pytest.raises(ZeroDivisionError):
            await feed.total(broken())
        with pytest.raises(LocalError, match=r"an item of 'prices'"):
            await feed.total(misfit())
        await until(lambda: log.ended == ["total", "total"])


@CHANNELS
async def test_deadlines_of_streams(channel: str) -> None:
    """For the whole, and for each item."""
    async with serving() as (url, _, log), calling(channel, url) as feed:
        assert await feed.unary("x") == "x"  # what follows does not wait for a connection
        for policy, text in ((Policy(timeout=2.0), "not answered within 2 s"), (Policy(idle=1.5), "no item came")):
            got, error = await outcome(with_policy(feed, policy).stuck(3))
            assert got == [0, 1, 2]
            assert isinstance(error, CommunicationError)
            assert error.code is Code.DEADLINE_EXCEEDED
            assert text in error.message
        await until(lambda: log.ended == ["stuck", "stuck"])


@CHANNELS
async def test_a_policy_lifts_the_time_that_a_server_grants(channel: str) -> None:
    """The server's `request_timeout` is for callers that say nothing."""
    async with serving(request_timeout=0.3) as (url, _, _), calling(channel, url) as feed:
        stream = with_policy(feed, Policy(timeout=float("inf"))).stuck(1)
        assert await anext(stream) == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]


@CHANNELS
async def test_interceptors_of_a_server_wrap_the_life_of_a_stream(channel: str) -> None:
    """And may refuse it: then there is a status, and no item."""
    seen: list[str] = []

    async def watching(handler: Handler, call: Call) -> Any:
        if call.headers.get("x-user") == "nobody":
            raise MeshError(Code.PERMISSION_DENIED, "not you")
        seen.append("begins")
        try:
            return await handler(call)
        finally:
            seen.append("ends")

    async def user(handler: Handler, call: Call) -> Any:
        return await handler(Call(call.method, call.arguments, {"x-user": name}, call.deadline, rules=call.rules))

    @module(imports=[FeedsModule])
    class Watched:
        @create()
        def interceptors(self) -> Interceptors:
            return Interceptors(server=[watching])

    @module(imports=[Calling])
    class CallingAs:
        @create()
        def interceptors(self) -> Interceptors:
            return Interceptors(client=[user])

    name = "me"
    async with serving(Watched) as (url, _, _), calling(channel, url, module=CallingAs) as feed:
        stream = feed.watch("tea", 1)
        assert await anext(stream) == Price("tea", 0)
        assert seen[:1] == ["begins"]
        assert [price async for price in stream] == []
        assert seen == ["begins", "ends"]
        assert [item async for item in feed.peer()][2] == "me"
        name = "nobody"
        with pytest.raises(MeshError, match="not you") as caught:
            await anext(feed.watch("tea"))
        assert caught.value.code is Code.PERMISSION_DENIED


@CHANNELS
async def test_a_stream_is_sent_again_only_before_its_first_item(channel: str) -> None:
    """An instance that refuses connections is passed over; one that dies in mid-stream is not."""
    async with serving() as (url, _, _), refusing() as refused, calling(channel, refused, url) as feed:
        for _ in range(10):
            assert len([price async for price in feed.watch("tea")]) == 3
            assert await feed.total(prices(1, 2)) == 3


async def test_a_connection_that_breaks_in_mid_stream_is_an_error_after_the_items() -> None:
    """It is not sent again, although the method is idempotent."""
    frames = b'{"item":{"sku":"tea","cents":1}}\n{"item":{"sku":"tea","cents":2}}\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (len(frames), frames)
    for end, text in ((b"", "broke"), (b"0\r\n\r\n", "cut off in mid-stream")):
        async with answering([head, chunk + end]) as url, calling("dispatch-json", url) as feed:
            got, error = await outcome(feed.watch("tea"))
            assert [price.cents for price in got] == [1, 2]
            assert isinstance(error, CommunicationError)
            assert error.code is Code.UNAVAILABLE
            assert text in error.message
            assert len(error.attempts) == 1


@CHANNELS
async def test_a_drain_ends_streams(channel: str) -> None:
    """After the time that it has, with a code that says: come back."""
    async with serving(drain=0.2) as (url, app, log), calling(channel, url) as feed:
        stream = feed.stuck(1)
        assert await anext(stream) == 0
        stopping = asyncio.create_task(app.stop())
        got, error = await outcome(stream)
        assert got == []
        assert isinstance(error, MeshError)
        assert error.code is Code.UNAVAILABLE
        assert log.ended == ["stuck"]
        await stopping


async def test_what_dispatch_cannot_carry_is_an_error_of_get_service() -> None:
    """It names what can."""
    async with Mesh(Calling, settings=Settings(registry="local:")) as mesh:
        text = r"chat\.double is a bidirectional stream, which channel 'dispatch-json' .*: local, stream-msgpack$"
        with pytest.raises(LocalError, match=text) as caught:
            await mesh.get_service(Chat, "dispatch-json")
        assert caught.value.code is Code.UNIMPLEMENTED
        with pytest.raises(LocalError, match="over: local, stream-msgpack"):
            await mesh.get_service(Chat, "rest")
        with pytest.raises(LocalError, match="bidirectional"):
            await mesh.get_service(BlockingFeed, "dispatch-msgpack")


@pytest.mark.parametrize(
    ("kind", "body", "status", "text"),
    [
        ("application/json", b"", 400, "content type must be application/x-ndjson or application/x-msgpack-frames"),
        ("application/x-ndjson", b"", 400, "the body is empty"),
        ("application/x-ndjson", b"{}\n", 400, "the first frame is no call"),
        ("application/x-ndjson", b'{"method":"feeds:feed:wach","args":[]}\n', 501, "did you mean"),
        ("application/x-ndjson", b'{"method":"feeds:feed:unary","args":["x"]}', 501, "no streaming method"),
        ("application/x-ndjson", b'{"method":"feeds:feed:watch","args":[5]}', 400, "$.args[0]"),
        ("application/x-ndjson", b'{"method":"feeds:feed:total","args":[]}\n{"sku":1}\n', 400, "an item of 'prices'"),
        ("application/x-ndjson", TOTAL + b"y" * 5000, 429, "larger than 4000 bytes"),
        ("application/x-ndjson", b"x" * 5000, 429, "larger than 4000 bytes"),
        ("application/x-msgpack-frames", b"\x00\x00\xff\xff", 429, "larger than 4000 bytes"),
        ("application/x-msgpack-frames", b"\x00\x00\x00\x09x", 400, "ends within a frame"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(kind: str, body: bytes, status: int, text: str) -> None:
    """With a status, before anything is sent."""
    headers = {"content-type": kind}
    async with (
        serving(max_body=4000) as (url, _, _),
        aiohttp.ClientSession() as session,
        session.post(f"{url}/invoke/stream", data=body, headers=headers) as answer,
    ):
        found = await answer.read()
        assert (answer.status, text in found.decode("latin-1")) == (status, True), found


async def test_curl_reads_a_stream() -> None:
    """A line for each item, and one for the end."""
    async with serving() as (url, _, _), aiohttp.ClientSession() as session:
        call = {"method": "feeds:feed:watch", "args": ["tea", 2]}
        headers = {"content-type": "application/x-ndjson"}
        async with session.post(f"{url}/invoke/stream", data=json.dumps(call), headers=headers) as answer:
            assert answer.content_type == "application/x-ndjson"
            assert (await answer.text()).splitlines() == [
                '{"item":{"sku":"tea","cents":0}}',
                '{"item":{"sku":"tea","cents":1}}',
                '{"result":null,"exception":null}',
            ]
        async with session.post(f"{url}/invoke", json=call) as answer:
            assert "no method" in await answer.text()


@CHANNELS
async def test_a_server_runs_a_bounded_number_of_streams(channel: str) -> None:
    """The next one is refused, and not processed."""
    async with serving(max_concurrency=2) as (url, _, _), calling(channel, url) as feed:
        streams = [feed.stuck(1) for _ in range(2)]
        for stream in streams:
            assert await anext(stream) == 0
        begun = time.monotonic()
        with pytest.raises(MeshError, match="runs 2 calls already") as caught:
            await anext(with_policy(feed, Policy(timeout=0.5)).stuck(1))
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
        assert time.monotonic() - begun < 5
