"""A proxying socket in front of a server, which spoils the exchanges that pass through it in every way a network knows.

It reads HTTP, as far as it needs to: whole requests and whole answers, one at a time. On a WebSocket it reads frames of
the stream protocol: see `faulty_stream`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import AbstractAsyncContextManager, suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from meshcore.ports.identity import Credentials
from meshcore.security.tls.load_credentials import load_credentials
from tests.support.faults import GUSH, Fault, reset
from tests.support.faulty_stream import FaultyStream, Side
from tests.support.in_front import listening

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nupgrade:\s*websocket", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


class FaultyProxy:
    """Where to connect to, and what to spoil.

    Attributes:
        url: of the proxy.
        fault: what happens to exchanges from now on; see `suffer`.
        delay: seconds by which an answer is held back, whatever the fault.
        requests: how many it has read, or would have: one per connection that it spoils before. Of a WebSocket, its
            calls too.
        streamed: calls on WebSockets.
        gushed: bytes of endless answers that were taken from it.
    """

    def __init__(self, server: str, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        parts = urlsplit(server)
        self._host, self._port = parts.hostname, parts.port
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.url = ""
        self.fault = Fault.NONE
        self.delay = 0.0
        self.requests = 0
        self.streamed = 0
        self.gushed = 0

    def suffer(self, fault: Fault = Fault.NONE, *, delay: float = 0.0) -> None:
        """Let this happen from now on."""
        self.fault, self.delay = fault, delay
        for writer in self._clients.values():
            if fault is Fault.RESET_AT_ONCE:
                reset(writer)
            elif fault in {Fault.CLOSE_AT_ONCE, Fault.DEAF}:
                writer.close()

    def recover(self) -> None:
        """Spoil nothing any more, also where an exchange still hangs."""
        hanging = self.fault in {Fault.SILENT, Fault.DEAF, Fault.ENDLESS, Fault.GUSHING}
        self.suffer()
        if hanging:
            for writer in self._clients.values():
                writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = writer
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            del self._clients[task]
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault in {Fault.RESET_AT_ONCE, Fault.CLOSE_AT_ONCE}:
            self.requests += 1
            if self.fault is Fault.RESET_AT_ONCE:
                reset(writer)
            return
        if self.fault is Fault.DEAF:
            self.requests += 1
            await writer.wait_closed()
            return
        server_reader, server_writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        try:
            while True:
                request = await _message(reader)
                self.requests += 1
                if self.fault not in _OF_HTTP and _UPGRADE.search(request):
                    server_writer.write(request)
                    answer = await _message(server_reader)
                    writer.write(answer)
                    if not answer.startswith(b"HTTP/1.1 101"):
                        continue
                    await FaultyStream(self, Side(reader, writer), Side(server_reader, server_writer)).run()
                    return
                if not await self._exchange(request, writer, server_reader, server_writer):
                    return
        finally:
            server_writer.close()

    async def _exchange(
        self,
        request: bytes,
        client: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> bool:
        """Pass one request and its answer on, or not; whether the connection can go on."""
        fault, delay = self.fault, self.delay
        match fault:
            case Fault.RESET_IN_REQUEST:
                server.write(request[: len(request) // 2])
                await server.drain()
                reset(server)
                reset(client)
                return False
            case Fault.CLOSE_AFTER_REQUEST:
                return False
            case Fault.SILENT:
                await client.wait_closed()
                return False
            case Fault.ENDLESS:
                client.write(_OK + b"transfer-encoding: chunked\r\n\r\n")
                while not client.is_closing():
                    client.write(b"1\r\n \r\n")
                    await client.drain()
                    await asyncio.sleep(0.05)
                return False
            case Fault.GUSHING:
                client.write(_OK + b"x-consul-index: 7\r\ntransfer-encoding: chunked\r\n\r\n")
                while not client.is_closing():
                    client.write(b"%x\r\n%b\r\n" % (len(GUSH), GUSH))
                    await client.drain()
                    self.gushed += len(GUSH)
                return False
            case _:
                server.write(request)
                answer = await _message(server_reader)
                await asyncio.sleep(delay)
                return await self._answer(fault, answer, client)

    async def _answer(self, fault: Fault, answer: bytes, client: asyncio.StreamWriter) -> bool:
        goes_on = True
        answer = _INSTEAD.get(fault, answer)
        match fault:
            case Fault.RESET_AFTER_REQUEST:
                reset(client)
                return False
            case Fault.RESET_IN_ANSWER | Fault.CLOSE_IN_ANSWER:
                answer, goes_on = answer[: -len(answer) // 4], False
            case Fault.NOT_HTTP:
                answer, goes_on = b"\x16\x03\x01 220 smtp.example.org ready\r\n\r\n" * 3, False
            case Fault.TRUNCATED:
                head, _, body = answer.partition(b"\r\n\r\n")
                answer = _with_body(_LENGTH.sub(b"", head), body[: len(body) // 2])
            case _:
                pass
        client.write(answer)
        await client.drain()
        if fault is Fault.RESET_IN_ANSWER:
            await asyncio.sleep(0.01)  # what was written must arrive: a reset overtakes it
            reset(client)
        return goes_on

    async def aclose(self) -> None:
        """End all connections."""
        for writer in self._clients.values():
            writer.transport.abort()
        if self._clients:  # they see it by themselves, unless a frozen server keeps them waiting
            await asyncio.wait(self._clients, timeout=0.5)
        for task in list(self._clients):
            task.cancel()
        if self._clients:
            await asyncio.wait(self._clients)


class BothSides(NamedTuple):
    """How a proxy speaks TLS.

    Attributes:
        served: with clients.
        opened: with the server.
    """

    served: ssl.SSLContext
    opened: ssl.SSLContext


def both_sides(credentials: Credentials) -> BothSides:
    """TLS with one certificate on both sides, which have to have one of the same root."""
    found = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=credentials.roots.decode())
        load_credentials(context, credentials)
        found.append(context)
    return BothSides(*found)


def faulty(server: str, tls: BothSides | None = None) -> AbstractAsyncContextManager[FaultyProxy]:
    """A proxy in front of the server with that URL."""
    return listening(FaultyProxy(server, tls and tls.opened), tls and tls.served)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if _CHUNKED.search(head):
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return _with_body(_CHUNKED.sub(b"", head).removesuffix(b"\r\n\r\n"), body)
    length = _LENGTH.search(head)
    return head + await reader.readexactly(int(length[1]) if length else 0)


def _with_body(head: bytes, body: bytes) -> bytes:
    return b"%b\r\ncontent-length: %d\r\n\r\n%b" % (head, len(body), body)


_OF_HTTP = {Fault.SERVER_ERROR, Fault.TOO_MANY, Fault.HIDDEN, Fault.SOMEBODY_ELSE}
"""These are answers to the request for a WebSocket, too. All others leave it alone, and spoil what follows."""

_INSTEAD = {
    Fault.NOT_OURS: _with_body(b"HTTP/1.1 200 OK\r\ncontent-type: text/html", b"<html>Please sign in</html>"),
    Fault.SERVER_ERROR: _with_body(b"HTTP/1.1 500 Internal Server Error\r\nx-consul-index: 1", b"No cluster leader"),
    Fault.TOO_MANY: _with_body(b"HTTP/1.1 429 Too Many Requests", b"Your IP is issuing too many requests"),
    Fault.HIDDEN: _with_body(
        b"HTTP/1.1 200 OK\r\nx-consul-index: 100000\r\nx-consul-results-filtered-by-acls: true", b"[]"
    ),
    Fault.SOMEBODY_ELSE: _with_body(b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain", b"Not Found"),
    Fault.EMPTY: _with_body(b"HTTP/1.1 200 OK", b""),
}
