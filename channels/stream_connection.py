"""One connection of the channel `stream-msgpack` to one instance: a WebSocket, and the calls in flight on it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from typing import TypeAlias

import aiohttp
from yarl import URL

from meshcore.stream.driver import Driver, new_connection
from meshcore.wire.endpoints import STREAM_PROTOCOL
from meshcore.wire.frames import Reason
from meshcore.wire.stream.events import Answered, Erred, Event, Failed, GoneAway, Lost, Ready, Refused
from meshcore.wire.stream.limits import Limits

Outcome: TypeAlias = Answered | Erred | Refused | Lost
"""How a call has ended."""

_LARGEST_MESSAGE = 2**24
"""Bytes of a message of the WebSocket. A server of ours writes a fiftieth of that in one."""

_CLOSING = 1.0
"""Seconds to close a connection in good order."""

_TIMEOUTS = aiohttp.ClientWSTimeout(ws_close=_CLOSING)  # pyright: ignore[reportCallIssue] - a class of attrs
_GATEWAY_ERRORS = frozenset({502, 503, 504})


class NoStreamError(Exception):
    """There is a server, and it does not speak the protocol, or something on the way does not let it pass.

    Attributes:
        gateway: whether a proxy says that it reaches no server at the moment.
    """

    def __init__(self, text: str, *, gateway: bool = False) -> None:
        super().__init__(text)
        self.gateway = gateway


class StreamConnection:
    """One connection.

    Attributes:
        going: whether the server accepts no more calls on it.
        failed: why it has failed, if one side broke the protocol; else empty.
        task: runs it until it is over.
    """

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse[bool], limits: Limits) -> None:
        self.going = False
        self.failed = ""
        self._websocket = websocket
        self._calls: dict[int, asyncio.Future[Outcome]] = {}
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._machine = new_connection(client=True, limits=limits)
        self._driver = Driver(self._machine, _WebSocket(websocket), self._handle)
        self.task = self._loop.create_task(self._run(), name="meshcore.channels.stream")

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, url: URL, limits: Limits) -> StreamConnection:
        """Connect, and wait until calls may begin. The caller bounds the time.

        Raises:
            NoStreamError: what answers there does not speak the protocol.
            aiohttp.ClientError: there is no connection.
            OSError: likewise.
        """
        try:
            websocket = await session.ws_connect(
                url, protocols=(STREAM_PROTOCOL,), timeout=_TIMEOUTS, max_msg_size=_LARGEST_MESSAGE, autoclose=True
            )
        except aiohttp.WSServerHandshakeError as error:
            gateway = error.status in _GATEWAY_ERRORS
            raise NoStreamError(
                f"the WebSocket was answered with HTTP status {error.status}", gateway=gateway
            ) from None
        if websocket.protocol != STREAM_PROTOCOL:
            await websocket.close()
            raise NoStreamError("the server has WebSockets, but not this protocol")
        connection = cls(websocket, limits)
        try:
            await connection._ready
        except BaseException:
            await connection.aclose()
            raise
        return connection

    @property
    def usable(self) -> bool:
        """Whether calls may begin on it, if there is room."""
        return not (self.going or self._driver.over or self._machine.exhausted)

    @property
    def room(self) -> int:
        """How many calls may begin now."""
        return self._machine.room

    def begin(
        self, path: str, payload: bytes, headers: Mapping[str, str], timeout: float
    ) -> tuple[int, asyncio.Future[Outcome]]:
        """Send a call. Returns its number and its future outcome.

        Raises:
            LocalError: it cannot be sent.
        """
        number = self._machine.request(path, payload, headers, None if timeout == inf else timeout)
        outcome = self._calls[number] = self._loop.create_future()
        self._driver.wake()
        return number, outcome

    def give_up(self, number: int) -> None:
        """Tell the server that nobody waits for a call any more."""
        if self._calls.pop(number, None) is not None:
            self._machine.cancel(number)
            self._driver.wake()
            self._close_if_done()

    def _handle(self, event: Event) -> None:
        match event:
            case Answered() | Erred() | Refused() | Lost():
                outcome = self._calls.pop(event.call, None)
                if outcome is not None and not outcome.done():
                    outcome.set_result(event)
                if self.going:
                    self._close_if_done()
            case Ready():
                if not self._ready.done():
                    self._ready.set_result(None)
            case GoneAway():
                self.going = True
                self._close_if_done()
            case Failed(reason=reason, text=text) if reason is not Reason.SILENT:
                self.failed = text
            case _:
                pass

    def _close_if_done(self) -> None:
        if self.going and not self._machine.calls:
            self._driver.close("the server has told this client to go away")

    async def _run(self) -> None:
        try:
            await self._driver.run()
        finally:
            if not self._ready.done():
                self._ready.set_exception(NoStreamError(self.failed or "the WebSocket was closed at once"))
                self._ready.exception()  # nobody may wait for it any more
            with suppress(aiohttp.ClientError, OSError):  # a timeout is an OSError
                async with asyncio.timeout(_CLOSING):
                    await self._websocket.close()

    async def aclose(self) -> None:
        """Close the connection. Calls in flight end as lost."""
        self._driver.close("the mesh has stopped")
        await asyncio.wait([self.task])


class _WebSocket:
    """A WebSocket of aiohttp as the transport of a connection."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._websocket = websocket

    async def receive(self) -> bytes | None:
        """The next message, None when the connection is closed, or if it is a text, which is no frame."""
        message = await self._websocket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            data: bytes = message.data
            return data
        return None

    async def send(self, data: bytes) -> None:
        """Write a message.

        Raises:
            OSError: the connection is closed.
        """
        try:
            await self._websocket.send_bytes(data)
        except aiohttp.ClientError as error:
            raise ConnectionResetError(str(error)) from error

    def abort(self) -> None:
        """Close the connection at once. aiohttp gives no transport, and uvloop a socket without methods."""
        sock: socket.socket | None = self._websocket.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError), socket.fromfd(sock.fileno(), sock.family, sock.type) as same:
                same.shutdown(socket.SHUT_RDWR)
