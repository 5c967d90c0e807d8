"""Answers of every form, read directly and by all of aiohttp: both ways come to the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
from yarl import URL

from examples.greeting import Greeting, GreetingComponent
from meshcore import Call, Code, CommunicationError, LocalError, MeshError, channel
from meshcore.channels.direct import DirectExchange
from meshcore.channels.http import HTTPChannel
from meshcore.declare.reader import describe, describe_component
from meshcore.ports.channel import ChannelOptions
from meshcore.wire.answer import Answer

METHOD = describe(Greeting).methods[0]


@channel("plain")
class PlainChannel(HTTPChannel):
    """Only exchanges."""

    async def invoke(self, call: Call, endpoint: Any) -> Any:
        raise NotImplementedError


def whole(answer: bytes) -> bool:
    """Whether its end can be seen, so that the connection may go on."""
    head, _, body = answer.rpartition(b"\r\n\r\n")
    length = head.rpartition(b"content-length: ")[2]
    return b"chunked" in answer or b" 204 " in answer or (b"content-length" in head and int(length) == len(body))


class Server:
    """Answers each request with the bytes it was given, and keeps what it read."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = URL()
        self.over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0)
                self.requests.append(head + await reader.readexactly(length))
                if not self.answers:
                    await self.over.wait()
                    return
                answer = self.answers.pop(0)
                writer.write(answer)
                await writer.drain()
                if not whole(answer):
                    return
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def exchanging(*answers: bytes, direct: bool = True) -> AsyncIterator[tuple[Server, HTTPChannel]]:
    """A server that gives these answers and a channel to it."""
    server = Server(list(answers))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    server.url = URL(f"http://{host}:{port}/path?a=%2F", encoded=True)
    sender = PlainChannel()
    sender.bind(describe_component(GreetingComponent, []), ChannelOptions(max_body=1000))
    if not direct:
        make = sender.make_session
        sender.make_session = lambda **options: make(headers={"x-adapted": "yes"}, **options)  # type: ignore[method-assign]
    try:
        yield server, sender
    finally:
        server.over.set()
        await sender.aclose()
        listening.close()


async def send(server: Server, sender: HTTPChannel, body: bytes | None = b"hello", **headers: str) -> Answer:
    """One request."""
    call = Call(METHOD, headers=headers, deadline=monotonic() + 5)
    return await sender.exchange(call, "POST" if body else "GET", server.url, {"content-type": "text/plain"}, body)


OK = b"HTTP/1.1 200 OK\r\nretry-after: 3\r\ncontent-length: 5\r\n\r\nworld"
BOTH = pytest.mark.parametrize("direct", [True, False], ids=["directly", "by all of aiohttp"])
WHOLE = {
    "content length": (OK, 200, b"world"),
    "chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nwo\r\n3\r\nrld\r\n0\r\n\r\n", 200, b"world"),
    "until the end": (b"HTTP/1.1 200 OK\r\n\r\nworld", 200, b"world"),
    "http 1.0": (b"HTTP/1.0 200 OK\r\n\r\nworld", 200, b"world"),
    "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "informed first": (b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n" + OK, 200, b"world"),
    "a redirect": (b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", 302, b""),
    "an error": (b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno", 503, b"no"),
}


@BOTH
@pytest.mark.parametrize("form", WHOLE)
async def test_a_whole_answer(form: str, *, direct: bool) -> None:
    """Whatever its form, it arrives, and so does the next over what is left of the connection."""
    data, status, body = WHOLE[form]
    async with exchanging(data, OK, direct=direct) as (server, sender):
        answer = await send(server, sender)
        assert (answer.status, answer.body) == (status, body)
        again = await send(server, sender, None)
        assert (again.status, again.body, again.headers["Retry-After"]) == (200, b"world", "3")
        first, second = server.requests
        assert first.startswith(b"POST /path?a=%2F HTTP/1.1\r\n")
        assert first.endswith(b"\r\n\r\nhello")
        assert second.startswith(b"GET /path?a=%2F HTTP/1.1\r\n")
        closed = form in {"until the end", "http 1.0"}
        assert server.connections == (2 if closed else 1)
        assert (b"x-adapted" in first) != direct


BROKEN = {
    "too short": (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nworld", Code.UNAVAILABLE),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Code.UNAVAILABLE),
    "a wrong header": (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", Code.UNAVAILABLE),
    "nothing at all": (b"", Code.UNAVAILABLE),
    "too large": (b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n" + bytes(1001), Code.RESOURCE_EXHAUSTED),
    "too many chunks": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1f4\r\n%b\r\n" % bytes(500) * 3,
        Code.RESOURCE_EXHAUSTED,
    ),
}


@BOTH
@pytest.mark.parametrize("form", BROKEN)
async def test_a_broken_answer(form: str, *, direct: bool) -> None:
    """It is a coded error, never sent again by itself, and its connection is not used for the next call."""
    data, code = BROKEN[form]
    async with exchanging(data, OK, direct=direct) as (server, sender):
        with pytest.raises(CommunicationError) as caught:
            await send(server, sender, None)
        assert caught.value.code is code
        assert caught.value.processed
        assert len(server.requests) == 1
        assert (await send(server, sender)).body == b"world"
        assert server.connections == 2 or form == "too large"  # aiohttp may have read all of it


@BOTH
async def test_a_call_that_is_cancelled(*, direct: bool) -> None:
    """Its answer, which may come any moment, is not taken for that of the next call."""
    async with exchanging(direct=direct) as (server, sender):
        waiting = asyncio.create_task(send(server, sender))
        while not server.requests:
            await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.wait([waiting])
        server.answers = [OK]
        assert (await send(server, sender)).body == b"world"
        assert server.connections == 2


@BOTH
async def test_a_header_that_would_be_two(*, direct: bool) -> None:
    """A line break in a header is refused before anything is sent."""
    async with exchanging(OK, OK, direct=direct) as (server, sender):
        with pytest.raises(LocalError, match="greeting") as caught:
            await send(server, sender, tenant="a\r\nadmin: yes")
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert caught.value.message.endswith("control characters in header 'tenant'")  # its value may be a secret
        assert not server.requests
        await send(server, sender, tenant="ä")
        assert "tenant: ä\r\n".encode() in server.requests[0]


async def test_a_header_that_is_no_text() -> None:
    """Nor is that kept in the cause of the error."""
    async with exchanging(OK, direct=True) as (server, sender):
        with pytest.raises(
            LocalError, match="a header or the URL contains what is no text: surrogates not al"
        ) as caught:
            await send(server, sender, tenant="a\ud800")
        assert caught.value.__cause__ is None


async def test_a_user_in_the_url() -> None:
    """Aiohttp makes the header of it."""
    async with exchanging(OK) as (server, sender):
        server.url = server.url.with_user("ann").with_password("secret")
        await send(server, sender)
        assert b"authorization: basic " in server.requests[0].lower()


async def test_another_release_of_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has not what the direct way needs is used the documented way."""
    assert DirectExchange.supported()
    monkeypatch.setattr("aiohttp.BaseConnector.connect", lambda self, request: None)
    assert not DirectExchange.supported()
    monkeypatch.undo()
    monkeypatch.setattr(DirectExchange, "supported", lambda: False)
    async with exchanging(OK) as (server, sender):
        assert (await send(server, sender)).body == b"world"
        assert b"user-agent" in server.requests[0].lower()


async def test_nobody_listens() -> None:
    """The call has not left, and the error says so."""
    async with exchanging() as (server, sender):
        server.url = URL("http://127.0.0.1:9/")
        with pytest.raises(MeshError) as caught:
            await send(server, sender)
        assert not caught.value.processed


def keeping(value: str) -> bytes:
    """An answer that says how long its connection is kept."""
    return f"HTTP/1.1 200 OK\r\n{value}content-length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("header", "connections"),
    [
        ("", 1),
        ("Keep-Alive: timeout=1000\r\n", 1),
        ("Keep-Alive: timeout=4, max=100\r\n", 1),
        ("Keep-Alive: timeout=0\r\n", 3),
        ("keep-alive: max=100, timeout=0.000001\r\n", 3),
        ("keep-alive: soon\r\n", 1),
    ],
)
async def test_a_server_that_closes_idle_connections_early(header: str, connections: int) -> None:
    """A connection is used again for a part of the time that its server keeps it; the usual time is 5 s."""
    async with exchanging(*[keeping(header)] * 3) as (server, sender):
        for _ in range(3):
            assert (await send(server, sender)).status == 200
        assert len(server.requests) == 3
        assert server.connections == connections


async def test_a_server_that_changes_its_mind() -> None:
    """Each answer counts for its connection: after a restart with another keep-alive, the new one does."""
    async with exchanging(keeping("keep-alive: timeout=0\r\n"), keeping(""), keeping("")) as (server, sender):
        for _ in range(3):
            await send(server, sender)
        assert server.connections == 2
