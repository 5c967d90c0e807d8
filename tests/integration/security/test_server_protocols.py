"""TLS of a server over HTTP/2 and on uvloop: who calls, and that nobody is taken for another."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
import uvloop

from tests.support.certificates import Authority
from tests.support.tls_server import Served, client_context, served
from tests.support.tls_server import whoami as application

pytestmark = pytest.mark.one_python

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class HTTP2:
    """A connection of HTTP/2."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._connection.initiate_connection()
        self.gone = False

    async def ask(self, count: int) -> list[str]:
        """Who the server says this client is, by so many requests at once."""
        connection = self._connection
        bodies: dict[int, bytes] = {}
        for _ in range(count):
            stream = connection.get_next_available_stream_id()
            headers = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "localhost")]
            connection.send_headers(stream, headers, end_stream=True)
            bodies[stream] = b""
        streams = list(bodies)
        while streams:
            self._writer.write(connection.data_to_send())
            data = await self._reader.read(65_536)
            assert data, "the connection was closed"
            for event in connection.receive_data(data):
                match event:
                    case h2.events.DataReceived():
                        bodies[event.stream_id] += event.data
                    case h2.events.StreamEnded():
                        streams.remove(event.stream_id)
                    case h2.events.ConnectionTerminated():
                        self.gone = True
                    case _:
                        pass
        return [json.loads(body)["identity"] for body in bodies.values()]

    async def ended(self) -> None:
        """Read until the end of the connection."""
        while data := await self._reader.read(65_536):
            events = self._connection.receive_data(data)
            self.gone |= any(isinstance(event, h2.events.ConnectionTerminated) for event in events)

    def close(self) -> None:
        self._writer.close()


async def http2(port: int, context: ssl.SSLContext) -> HTTP2:
    """Open a connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    return HTTP2(reader, writer)


async def http1(port: int, context: ssl.SSLContext | None, count: int) -> list[str]:
    """Who the server says this client is, by requests one after another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    answers = []
    for _ in range(count):
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answers.append(json.loads(await reader.readexactly(length))["identity"])
        await asyncio.sleep(random.uniform(0.0, 0.005))
    writer.close()
    return answers


def run(loop: str, body: Any) -> None:
    """Run it on that loop. What is logged of clients that are refused is not an error."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(body, 60))


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues all certificates of these tests."""
    return Authority.make()


@pytest.mark.parametrize("loop", LOOPS)
def test_nobody_is_taken_for_another(loop, authority, tmp_path):
    """Clients with certificates, without, in clear text, and with bad ones mix, over both versions of HTTP."""
    names = [f"client{number}" for number in range(6)]
    contexts = {name: client_context(authority, tmp_path / name, name) for name in names}
    fast = {name: client_context(authority, tmp_path / f"{name}2", name, alpn=["h2"]) for name in names}
    none = client_context(authority, tmp_path)
    bad = client_context(Authority.make("other"), tmp_path / "bad", "client0")
    bad.load_verify_locations(cadata=authority.roots.decode())
    wrong: Counter[str] = Counter()

    def check(expected: str, found: list[str]) -> None:
        wrong.update(each for each in found if each != expected)

    async def certified(server: Served, name: str) -> None:
        check(f"spiffe://dev.mesh/svc/{name}", await http1(server.port, contexts[name], 5))

    async def multiplexed(server: Served, name: str) -> None:
        connection = await http2(server.port, fast[name])
        for _ in range(3):
            check(f"spiffe://dev.mesh/svc/{name}", await connection.ask(5))
        connection.close()

    async def anonymous(server: Served, context: ssl.SSLContext | None) -> None:
        check("", await http1(server.port, context, 5))

    async def refused(server: Served) -> None:
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await http1(server.port, bad, 1)

    async def body() -> None:
        async with served(application, authority.credentials("orders")) as server:
            clients = [
                *(certified(server, name) for name in names * 3),
                *(multiplexed(server, name) for name in names * 2),
                *(anonymous(server, context) for context in (None, none) * 8),
                *(refused(server) for _ in range(6)),
            ]
            random.shuffle(clients)
            await asyncio.gather(*clients)

    run(loop, body())
    assert not wrong


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_of_http_2_is_renewed_in_good_order(loop, authority, tmp_path, monkeypatch):
    """After a new certificate, requests under way are answered, then GOAWAY comes with the end of the connection."""
    monkeypatch.setattr("meshcore.security.tls.server_tls._SPREAD", 0.0)

    async def body() -> None:
        async with served(application, authority.credentials("orders")) as server:
            connection = await http2(server.port, client_context(authority, tmp_path, "billing", alpn=["h2"]))
            assert len(await connection.ask(3)) == 3
            assert not connection.gone
            await server.replace(authority.credentials("orders"))
            await asyncio.sleep(0.1)
            assert await connection.ask(3) == ["spiffe://dev.mesh/svc/billing"] * 3
            await connection.ended()
            assert connection.gone
            connection.close()

    run(loop, body())
