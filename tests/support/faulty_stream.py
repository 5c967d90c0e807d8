"""Spoils what passes on one WebSocket of the channel `stream-msgpack`, in the ways of `Fault`, frame by frame."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

from meshcore.wire.frames import HEAD, MORE, Kind
from tests.support.faults import GUSH, Fault, reset

_BARE = 0x3F
_BINARY = 0x82
_PAGE = b"<html>Please sign in</html>"
_OUTCOMES = (Kind.ANSWER, Kind.ERROR, Kind.ITEM, Kind.DATA, Kind.END, Kind.REFUSED)


class Frame(NamedTuple):
    """A frame of the stream protocol.

    Attributes:
        kind: with its flags.
        call: its number, 0 for a frame of the connection.
        body: all of it.
    """

    kind: int
    call: int
    body: bytes

    def bytes(self) -> bytes:
        """As it travels."""
        return HEAD.pack(len(self.body), self.kind, self.call) + self.body


class Wrapped(NamedTuple):
    """A frame of the WebSocket.

    Attributes:
        raw: as it came.
        payload: of a message of bytes, else nothing.
    """

    raw: bytes
    payload: bytes


class Proxy(Protocol):
    """The proxy that the connection belongs to."""

    fault: Fault
    delay: float
    requests: int
    streamed: int
    gushed: int


class Side(NamedTuple):
    """One of the two connections."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class FaultyStream:
    """One connection.

    Args:
        proxy: says what is to happen.
        client: who has opened the WebSocket.
        server: who has accepted it.
    """

    def __init__(self, proxy: Proxy, client: Side, server: Side) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._up, self._down = Splitter(), Splitter()
        self._silent = False
        self._asked: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Pass on what comes in both directions until one of them ends."""
        tasks = [
            asyncio.create_task(self._to_server()),
            asyncio.create_task(self._to_client()),
            asyncio.create_task(self._talk()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for found in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(found, Exception) and not isinstance(found, OSError | EOFError):
                    raise found

    async def _to_server(self) -> None:
        while True:
            came = await wrapped(self._client.reader)
            begun = [each.call for each in self._up.feed(came.payload) if each.kind & _BARE == Kind.REQUEST]
            self._proxy.requests += len(begun)
            self._proxy.streamed += len(begun)
            if begun and not await self._requested(came, begun[0]):
                return
            if not self._is_silent:
                self._server.writer.write(came.raw)
                await self._server.writer.drain()

    async def _requested(self, came: Wrapped, call: int) -> bool:
        """Spoil a message with a request, or let it pass; whether the connection goes on."""
        server, client = self._server.writer, self._client.writer
        match self._proxy.fault:
            case Fault.RESET_IN_REQUEST:
                server.write(came.raw[: len(came.raw) // 2])
                await server.drain()
                reset(server)
                reset(client)
                return False
            case Fault.CLOSE_AFTER_REQUEST:
                return False
            case Fault.ENDLESS | Fault.GUSHING:
                self._ask(Kind.ANSWER, call)
            case _:
                pass
        return True

    async def _talk(self) -> None:
        """Send one call a message without end, once that is asked for. Pings pass, and nothing for other calls."""
        kind, call = await self._asked
        client, gushes = self._client.writer, self._proxy.fault is Fault.GUSHING
        chunk = GUSH[:32_768] if gushes else b" "
        client.write(binary(Frame(kind | MORE, call, b"").bytes()))
        while not client.is_closing():
            client.write(binary(Frame(Kind.DATA | MORE, call, chunk).bytes()))
            await client.drain()
            self._proxy.gushed += len(chunk)
            if not gushes:
                await asyncio.sleep(0.05)

    def _ask(self, kind: int, call: int) -> None:
        if not self._asked.done():
            self._asked.set_result((kind, call))

    @property
    def _is_silent(self) -> bool:
        self._silent = self._silent or self._proxy.fault is Fault.SILENT
        return self._silent

    async def _to_client(self) -> None:
        loop, client = asyncio.get_running_loop(), self._client.writer
        while True:
            came = await wrapped(self._server.reader)
            frames = self._down.feed(came.payload)
            if self._is_silent or (self._asked.done() and any(each.call for each in frames)):
                continue
            if any(each.kind & _BARE in _OUTCOMES for each in frames):
                if self._proxy.fault is not Fault.NONE:
                    if not await self._spoil(came, frames):
                        return
                    continue
                if self._proxy.delay:
                    loop.call_later(self._proxy.delay, client.write, came.raw)
                    continue
            client.write(came.raw)
            await client.drain()

    async def _spoil(self, came: Wrapped, frames: list[Frame]) -> bool:
        """Spoil a message with an answer or an item; whether the connection goes on."""
        client = self._client.writer
        data = came.raw
        match self._proxy.fault:
            case Fault.RESET_AFTER_REQUEST:
                reset(client)
                return False
            case Fault.RESET_IN_ANSWER | Fault.CLOSE_IN_ANSWER:
                data = came.raw[: 3 * len(came.raw) // 4]
            case Fault.NOT_HTTP:
                data = b"\x16\x03\x01 220 smtp.example.org ready\r\n\r\n" * 3
            case Fault.NOT_OURS:
                data = binary(_PAGE)
            case Fault.ENDLESS | Fault.GUSHING:
                self._ask(Kind.ITEM, next(each.call for each in frames if each.kind & _BARE in _OUTCOMES))
                return True
            case Fault.TRUNCATED:
                data = binary(rewritten(frames, lambda body: body[: len(body) // 2]))
            case Fault.EMPTY:
                data = binary(rewritten(frames, lambda _: b""))
            case _:
                pass
        client.write(data)
        await client.drain()
        if self._proxy.fault is Fault.RESET_IN_ANSWER:
            await asyncio.sleep(0.01)  # what was written must arrive: a reset overtakes it
            reset(client)
        return self._proxy.fault not in {Fault.RESET_IN_ANSWER, Fault.CLOSE_IN_ANSWER, Fault.NOT_HTTP}


class Splitter:
    """Takes a direction apart into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Those of a spoilt connection mean nothing."""
        self._rest += data
        found: list[Frame] = []
        while len(self._rest) >= HEAD.size:
            size, kind, call = HEAD.unpack_from(self._rest)
            end = HEAD.size + size
            if len(self._rest) < end:
                break
            found.append(Frame(kind, call, self._rest[HEAD.size : end]))
            self._rest = self._rest[end:]
        return found


def rewritten(frames: list[Frame], change: Callable[[bytes], bytes]) -> bytes:
    """The frames, with other payloads of answers and items."""
    changed = {Kind.ANSWER, Kind.ITEM}
    return b"".join(
        (each._replace(body=change(each.body)) if each.kind in changed else each).bytes() for each in frames
    )


async def wrapped(reader: asyncio.StreamReader) -> Wrapped:
    """The next frame of a WebSocket."""
    head = await reader.readexactly(2)
    masked, length = head[1] & 0x80, head[1] & 0x7F
    more = {126: 2, 127: 8}.get(length, 0)
    long = await reader.readexactly(more)
    mask = await reader.readexactly(4) if masked else b""
    payload = await reader.readexactly(int.from_bytes(long) if more else length)
    raw = head + long + mask + payload
    if head[0] & 0x0F not in {0, 2}:
        return Wrapped(raw, b"")
    if masked and payload:
        key = (mask * (len(payload) // 4 + 1))[: len(payload)]
        payload = (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(len(payload))
    return Wrapped(raw, payload)


def binary(payload: bytes) -> bytes:
    """A message of bytes, as a server sends it."""
    if len(payload) < 126:
        return struct.pack(">BB", _BINARY, len(payload)) + payload
    return struct.pack(">BBH", _BINARY, 126, len(payload)) + payload
