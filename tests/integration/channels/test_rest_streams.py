"""Streams over REST as other clients see them: raw HTTP, server-sent events, and servers that are no mesh."""

from __future__ import annotations

import asyncio
import json
import re
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate
from yarl import URL

from meshcore import (
    AbstractComponent,
    Code,
    CommunicationError,
    Component,
    LocalError,
    Mesh,
    MeshApp,
    MeshError,
    Policy,
    Service,
    Settings,
    client_module,
    component,
    get,
    implementation,
    module,
    openapi,
    rest,
    service,
)
from meshcore.testing import memory_mesh, run_virtually
from meshcore.testing.loopback import Loopback
from meshcore.testing.servers import answering
from meshcore.wire.streaming.event_stream import Event, EventReader
from tests.integration.channels.test_streams import calling, outcome, serving, until
from tests.integration.mesh.streams.feeds import Feeds, SoldOut

LINES = {"accept": "application/x-ndjson"}
EVENTS = {"accept": "text/event-stream"}
SOLD_OUT = {
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "detail": "tea",
    "code": "failed_precondition",
    "retryable": False,
    "processed": True,
    "exception": "SoldOut",
    "fields": {"sku": "tea"},
}


@service()
@rest("/texts")
class Texts(Service):
    @get("", status=203)
    @Policy(timeout=inf)
    @abstractmethod
    def anything(self) -> AsyncIterator[Any]:
        """Items of every kind."""

    @get("/slow")
    @Policy(timeout=inf)
    @abstractmethod
    def slow(self) -> AsyncIterator[int]:
        """One item, later than the time for calls and for a sign of life."""


@service()
class Pathless(Service):
    @abstractmethod
    def stream(self) -> AsyncIterator[int]: ...


@component(services=[Texts, Pathless])
class TextsComponent(Component): ...


ANYTHING = ["two\nlines\r\n", None, [], {"$problem": {"status": 500}}, {"a\n": "\u2028"}, ""]


@implementation()
class TextsImpl(Texts, Pathless):
    async def stream(self) -> AsyncIterator[int]:
        yield 1

    async def anything(self) -> AsyncIterator[Any]:
        for item in ANYTHING:
            yield item

    async def slow(self) -> AsyncIterator[int]:
        await asyncio.sleep(40)
        yield 1
        await asyncio.sleep(20)


@implementation()
class TextsComponentImpl(AbstractComponent, TextsComponent): ...


@module(provides=[TextsImpl, TextsComponentImpl])
class TextsModule: ...


CallingTexts = client_module(TextsComponent)


@asynccontextmanager
async def in_memory() -> AsyncGenerator[Loopback]:
    """A network with a server of texts."""
    loopback = Loopback()
    settings = Settings(registry="local:", advertise_url="http://texts", request_timeout=5.0, verify_advertise=False)
    app = MeshApp(TextsModule, settings=settings)
    async with app.running():
        loopback.serve("http://texts", app)
        yield loopback


async def test_curl_reads_lines() -> None:
    """Bare items, and an empty line that says that these are all."""
    async with serving() as (url, _, _), aiohttp.ClientSession() as session:
        async with session.get(f"{url}/feed/watch/tea?count=2") as answer:
            assert (answer.status, answer.content_type) == (200, "application/x-ndjson")
            assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
            assert await answer.text() == '{"sku":"tea","cents":0}\n{"sku":"tea","cents":1}\n\n'
        async with session.get(f"{url}/feed/watch/tea?count=1&sold_out=true") as answer:
            item, last = (await answer.text()).splitlines()
            assert (json.loads(item), json.loads(last)) == ({"sku": "tea", "cents": 0}, {"$problem": SOLD_OUT})


async def test_a_browser_gets_events() -> None:
    """Each item is a message; the last event says how it ended."""
    async with serving() as (url, _, _), aiohttp.ClientSession(headers=EVENTS) as session:
        async with session.get(f"{url}/feed/watch/tea?count=1") as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            text = await answer.text()
            assert re.fullmatch(r"retry: [123]\d\d\d\n\n", text[:13])
            assert text[13:] == 'data: {"sku":"tea","cents":0}\n\nevent: end\ndata: null\n\n'
        async with session.get(f"{url}/feed/watch/tea?count=1&sold_out=true") as answer:
            first, last = EventReader(10_000).feed(await answer.read())
            assert first == Event("message", b'{"sku":"tea","cents":0}')
            assert (last.name, json.loads(last.data)) == ("error", SOLD_OUT)


@pytest.mark.parametrize("headers", [LINES, EVENTS], ids=["lines", "events"])
async def test_an_error_before_the_first_item_has_its_status(headers: dict[str, str]) -> None:
    """As a problem, as that of any other method."""
    async with serving() as (url, _, _), aiohttp.ClientSession(headers=headers) as session:
        for query, found in (("count=0&sold_out=true", "SoldOut"), ("count=x", "query parameter 'count'")):
            async with session.get(f"{url}/feed/watch/tea?{query}") as answer:
                assert (answer.status, answer.content_type) == (400, "application/problem+json")
                assert found in await answer.text()


async def test_a_client_that_takes_no_stream_is_told_so() -> None:
    """Before anything is called. What asks for the head only does not call anything either."""
    async with serving() as (url, _, log), aiohttp.ClientSession() as session:
        async with session.get(f"{url}/feed/watch/tea", headers={"accept": "application/json"}) as answer:
            assert answer.status == 406
            assert "application/x-ndjson or text/event-stream" in (await answer.json(content_type=None))["detail"]
        async with session.head(f"{url}/feed/stuck?after=9", headers=EVENTS) as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert log.ended == []


@pytest.mark.parametrize(
    ("kind", "body", "status", "text"),
    [
        ("application/x-ndjson", b'{"sku":"tea","cents":5}\n\n{"sku":"tea","cents":7}', 200, "13"),
        ("application/x-ndjson; charset=utf-8", b"", 200, "1"),
        ("application/x-ndjson", b'{"sku":"tea"}\n', 400, "an item of 'prices'"),
        ("application/x-ndjson", b"nonsense", 400, "an item of 'prices'"),
        ("application/x-ndjson", b"x" * 5000, 429, "larger than 4000 bytes"),
        ("application/json", b"[]", 415, "content type must be application/x-ndjson, got 'application/json'"),
    ],
)
async def test_a_body_of_lines(kind: str, body: bytes, status: int, text: str) -> None:
    """Its items are checked one by one."""
    async with (
        serving(max_body=4000) as (url, _, _),
        aiohttp.ClientSession() as session,
        session.post(f"{url}/feed/total?start=1", data=body, headers={"content-type": kind}) as answer,
    ):
        found = await answer.text()
        assert (answer.status, text in found) == (status, True), found


@pytest.mark.parametrize("headers", [LINES, EVENTS], ids=["lines", "events"])
async def test_a_client_that_leaves_ends_the_generator(headers: dict[str, str]) -> None:
    """Of the server, while it waits for something to write."""
    async with serving() as (url, _, log), aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{url}/feed/stuck?after=1") as answer:
            await answer.content.readline()
        await until(lambda: log.ended == ["stuck"])


async def test_a_drain_is_the_last_event() -> None:
    """It says that the client may come back."""
    async with serving(drain=0.2) as (url, app, _), aiohttp.ClientSession(headers=EVENTS) as session:
        async with session.get(f"{url}/feed/stuck?after=1") as answer:
            reader = EventReader(10_000)
            assert reader.feed(await answer.content.readuntil(b"\n\n")) == []
            assert reader.feed(await answer.content.readuntil(b"\n\n")) == [Event("message", b"0")]
            stopping = asyncio.create_task(app.stop())
            (last,) = reader.feed(await answer.read())
            assert (last.name, json.loads(last.data)["code"]) == ("error", "unavailable")
        await stopping


async def test_items_of_every_kind_arrive() -> None:
    """Also with line breaks, and what looks like a problem; with the status of the decorator."""
    async with memory_mesh(TextsModule, client=CallingTexts, channel="rest") as mesh:
        texts = await mesh.get_service(Texts)
        assert [item async for item in texts.anything()] == ANYTHING
    async with in_memory() as loopback, loopback.stream("GET", URL("http://texts/texts"), EVENTS, None) as answer:
        assert answer.status == 203
        *items, end = EventReader(10_000).feed(b"".join([chunk async for chunk in answer.chunks]))
        assert [json.loads(item.data) for item in items] == ANYTHING
        assert end.name == "end"


def test_a_stream_of_events_says_that_it_lives() -> None:
    """By comments, which no reader sees. The policy of the method grants the time, whatever the server's setting."""

    async def read(headers: dict[str, str]) -> bytes:
        url = URL("http://texts/texts/slow")
        async with in_memory() as loopback, loopback.stream("GET", url, headers, None) as answer:
            return b"".join([chunk async for chunk in answer.chunks])

    events = run_virtually(read(EVENTS))
    assert events[13:] == b":\n\n:\n\ndata: 1\n\n:\n\nevent: end\ndata: null\n\n"
    assert run_virtually(read(LINES)) == b"1\n\n"


def answered(content_type: str, body: bytes, *, marked: bool = False) -> list[bytes]:
    """An answer in one chunk."""
    mark = "mesh-end: marked\r\n" if marked else ""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{mark}transfer-encoding: chunked\r\n\r\n"
    return [head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)]


TEA = b'{"sku":"tea","cents":1}'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-ndjson", TEA + b"\n\n" + TEA),
        ("application/jsonl", TEA + b"\r\n" + TEA + b"\r\n"),
        ("text/event-stream;charset=utf-8", b": hi\nevent: price\ndata: %b\n\ndata: %b\n\n" % (TEA, TEA)),
    ],
)
async def test_streams_of_servers_that_are_no_mesh(content_type: str, body: bytes) -> None:
    """They end with their bodies."""
    async with answering(answered(content_type, body)) as url, calling("rest", url) as feed:
        got, error = await outcome(feed.watch("tea"))
        assert ([price.cents for price in got], error) == ([1, 1], None)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-ndjson", TEA + b"\n"),
        ("application/x-ndjson", TEA + b'\n{"$problem":{"type":'),
        ("text/event-stream", b"data: %b\n\nevent: end\ndata: null\n" % TEA),
    ],
)
async def test_a_stream_without_its_end_was_cut_off(content_type: str, body: bytes) -> None:
    """Although HTTP says that it was complete, as a proxy may."""
    async with answering(answered(content_type, body, marked=True)) as url, calling("rest", url) as feed:
        got, error = await outcome(feed.watch("tea"))
        assert [price.cents for price in got] == [1]
        assert isinstance(error, CommunicationError)
        assert (error.code, len(error.attempts)) == (Code.UNAVAILABLE, 1)
        assert "cut off in mid-stream" in error.message


async def test_a_connection_that_breaks_is_an_error_after_the_items() -> None:
    """As HTTP says, with any server. The call is not sent again, although it is idempotent."""
    for content_type, item in (("application/x-ndjson", TEA + b"\n"), ("text/event-stream", b"data: %b\n\n" % TEA)):
        (whole,) = answered(content_type, item)
        async with answering([whole.removesuffix(b"0\r\n\r\n")]) as url, calling("rest", url) as feed:
            got, error = await outcome(feed.watch("tea"))
            assert [price.cents for price in got] == [1]
            assert isinstance(error, CommunicationError)
            assert (error.code, len(error.attempts)) == (Code.UNAVAILABLE, 1)
            assert "broke" in error.message


async def test_an_error_in_an_event_is_that_of_the_call() -> None:
    """Of a mesh as itself, and of others as well as it can be read."""
    for problem, kind, text in ((json.dumps(SOLD_OUT), SoldOut, "tea"), ('{"message": "no"}', MeshError, "no")):
        body = b"data: %b\n\nevent: error\ndata: %b\n\n" % (TEA, problem.encode())
        async with answering(answered("text/event-stream", body)) as url, calling("rest", url) as feed:
            got, error = await outcome(feed.watch("tea"))
            assert len(got) == 1
            assert isinstance(error, kind)
            assert text in str(error)


@pytest.mark.parametrize("marked", [True, False])
async def test_an_item_that_does_not_fit_or_is_too_large(marked: bool) -> None:  # noqa: FBT001
    """Says so, after those before it."""
    for item, text in ((b'{"sku":5}', "does not fit"), (b"x" * 3000, "larger than 2000 bytes")):
        body = b"%b\n%b\n\n" % (TEA, item)
        async with (
            answering(answered("application/x-ndjson", body, marked=marked)) as url,
            calling("rest", url, max_body=2000) as feed,
        ):
            _, error = await outcome(feed.watch("tea"))
            assert isinstance(error, CommunicationError)
            assert text in error.message


async def test_a_method_without_a_path_says_so() -> None:
    """By `get_service`, or at the call if the instances offer nothing else."""
    settings = Settings(registry="static:texts-component=rest(http://127.0.0.1:9)")
    async with Mesh(CallingTexts, settings=settings) as mesh:
        with pytest.raises(
            LocalError, match=r"pathless\.stream is a server stream without a path, which channel 'rest'"
        ):
            await mesh.get_service(Pathless, "rest")
        _, error = await outcome((await mesh.get_service(Pathless)).stream())
        assert isinstance(error, CommunicationError)
        assert "none of the offered channels carries: rest; these do: dispatch-json, dispatch-msg" in error.message


def test_the_document_describes_streams() -> None:
    """Both media types with the schema of an item; lines for a stream of the caller."""
    document = openapi([Feeds])
    validate(document)
    answers = document["paths"]["/feed/watch/{sku}"]["get"]["responses"]
    schema = {"schema": {"$ref": "#/components/schemas/Price"}}
    assert answers["200"]["content"] == {"application/x-ndjson": schema, "text/event-stream": schema}
    assert "406" in answers
    total = document["paths"]["/feed/total"]["post"]
    assert total["requestBody"]["content"] == {"application/x-ndjson": schema}
    assert total["responses"]["200"]["content"] == {"application/json": {"schema": {"type": "integer"}}}
