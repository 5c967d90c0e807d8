"""A proxying socket in front of a server, which spoils the exchanges that pass through it in every way a network knows.

It reads HTTP, as far as it needs to: whole requests and whole answers, one at a time.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from contextlib import AbstractAsyncContextManager, suppress
from enum import Enum, auto
from urllib.parse import urlsplit

from tests.support.in_front import listening

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_RESET = struct.pack("ii", 1, 0)
_GUSH = b" " * 65536
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


class Fault(Enum):
    """What happens to an exchange, and to the connections that are open when it begins."""

    NONE = auto()

    RESET_AT_ONCE = auto()
    """Every connection is reset, those that are open too, before a request is read."""

    RESET_IN_REQUEST = auto()
    """The server gets half of the request, then both sides are reset."""

    RESET_AFTER_REQUEST = auto()
    """The server gets the request and answers, but its client is reset."""

    RESET_IN_ANSWER = auto()
    """The client gets half of the answer, then it is reset."""

    CLOSE_AT_ONCE = auto()
    """Every connection is closed in good order, those that are open too, before a request is read."""

    CLOSE_AFTER_REQUEST = auto()
    """The request is read, and the connection closed; the server gets nothing."""

    CLOSE_IN_ANSWER = auto()
    """The client gets half of the answer, then its connection is closed in good order."""

    SILENT = auto()
    """The request is read, nothing is ever answered; the server gets nothing."""

    DEAF = auto()
    """The connections that are open are closed; new ones are accepted, and nothing is read from them."""

    ENDLESS = auto()
    """The answer begins and goes on for ever, a byte at a time."""

    GUSHING = auto()
    """The answer begins and goes on for ever, as fast as it is read."""

    NOT_HTTP = auto()
    """The answer is no HTTP."""

    NOT_OURS = auto()
    """The answer is a page for people, with status 200."""

    TRUNCATED = auto()
    """The answer lacks its second half, and its length says that this is all."""

    EMPTY = auto()
    """The answer is empty, with status 200."""

    SERVER_ERROR = auto()
    """The answer is a 500, as Consul gives it without a leader: with an index that means nothing."""

    TOO_MANY = auto()
    """The answer is a 429."""

    HIDDEN = auto()
    """The answer is an empty list, as Consul gives it to a token that may see nothing of what is there."""

    SOMEBODY_ELSE = auto()
    """The address is now another application's, which knows nothing of the kind."""


class FaultyProxy:
    """Where to connect to, and what to spoil.

    Attributes:
        url: of the proxy.
        fault: what happens to exchanges from now on; see `suffer`.
        delay: seconds by which an answer is held back, whatever the fault.
        requests: how many it has read, or would have: one per connection that it spoils before.
        gushed: bytes of endless answers that were taken from it.
    """

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._host, self._port = parts.hostname, parts.port
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.url = ""
        self.fault = Fault.NONE
        self.delay = 0.0
        self.requests = 0
        self.gushed = 0

    def suffer(self, fault: Fault = Fault.NONE, *, delay: float = 0.0) -> None:
        """Let this happen from now on."""
        self.fault, self.delay = fault, delay
        for writer in self._clients.values():
            if fault is Fault.RESET_AT_ONCE:
                _reset(writer)
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
                _reset(writer)
            return
        if self.fault is Fault.DEAF:
            self.requests += 1
            await writer.wait_closed()
            return
        server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        try:
            while True:
                request = await _message(reader)
                self.requests += 1
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
                _reset(server)
                _reset(client)
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
                    client.write(b"%x\r\n%b\r\n" % (len(_GUSH), _GUSH))
                    await client.drain()
                    self.gushed += len(_GUSH)
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
                _reset(client)
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
            _reset(client)
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


def faulty(server: str) -> AbstractAsyncContextManager[FaultyProxy]:
    """A proxy in front of the server with that URL."""
    return listening(FaultyProxy(server))


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


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a reset: nothing lingers, what is not yet sent is thrown away."""
    sock: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):  # it is closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


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
