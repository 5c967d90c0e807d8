"""A WebSocket of aiohttp as the transport of a connection with many calls."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, cast

import aiohttp
from yarl import URL

from meshcore.security.tls.client_connection import ClientConnection
from meshcore.wire.endpoints import STREAM_PROTOCOL

_LARGEST_MESSAGE = 2**24
"""Bytes of a message of the WebSocket. A server of ours writes a fiftieth of that in one."""

_CLOSING = 1.0
"""Seconds to close a connection in good order."""

_TIMEOUTS = aiohttp.ClientWSTimeout(ws_close=_CLOSING)  # pyright: ignore[reportCallIssue] - a class of attrs
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_GATEWAY_ERRORS = frozenset({502, 503, 504})


class NoStreamError(Exception):
    """There is a server, and it does not speak the protocol, or something on the way does not let it pass.

    Attributes:
        gateway: whether a proxy says that it reaches no server at the moment.
    """

    def __init__(self, text: str, *, gateway: bool = False) -> None:
        super().__init__(text)
        self.gateway = gateway


async def dial(
    session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], options: Mapping[str, Any] = NOTHING
) -> WebSocket:
    """Open a WebSocket. The caller bounds the time. The headers are those of all calls on it.

    Args:
        session: for the request.
        url: of the endpoint.
        headers: of all calls on it.
        options: of its TLS, for aiohttp.

    Raises:
        NoStreamError: what answers there has no such WebSocket.
        aiohttp.ClientError: there is no connection.
        OSError: likewise.
    """
    try:
        websocket = await _connect(session)(
            url,
            headers=headers,
            protocols=(STREAM_PROTOCOL,),
            timeout=_TIMEOUTS,
            max_msg_size=_LARGEST_MESSAGE,
            **options,
        )
    except aiohttp.WSServerHandshakeError as error:
        text = f"the WebSocket was answered with HTTP status {error.status}"
        raise NoStreamError(text, gateway=error.status in _GATEWAY_ERRORS) from None
    if websocket.protocol != STREAM_PROTOCOL:
        await websocket.close()
        raise NoStreamError("the server has WebSockets, but not this protocol")
    return WebSocket(websocket)


def _connect(session: aiohttp.ClientSession) -> Callable[..., Awaitable[aiohttp.ClientWebSocketResponse[bool]]]:
    """Without its types, which know no options that are collected elsewhere."""
    connect: Any = session.ws_connect
    return cast("Callable[..., Awaitable[aiohttp.ClientWebSocketResponse[bool]]]", connect)


async def dial_alone(session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str]) -> WebSocket:
    """Open a WebSocket with a session that only serves for that. The caller bounds the time.

    Raises:
        NoStreamError: what answers there has no such WebSocket.
        aiohttp.ClientError: there is no connection.
        OSError: likewise.
    """
    try:
        websocket = await dial(session, url, headers)
    except BaseException:
        await session.close()
        raise
    websocket.session = session
    return websocket


class WebSocket:
    """A WebSocket that is open.

    Attributes:
        session: is closed with it, if there is one.
    """

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._websocket = websocket
        self.session: aiohttp.ClientSession | None = None

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

    def on_stale(self, told: Callable[[], None]) -> None:
        """Call this once its certificates are not the newest ones any more."""
        secured = self._websocket.get_extra_info("ssl_object")
        if isinstance(secured, ClientConnection):
            secured.on_stale(told)

    def abort(self) -> None:
        """Close the connection at once. aiohttp gives no transport, and uvloop a socket without methods."""
        sock: socket.socket | None = self._websocket.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError), socket.fromfd(sock.fileno(), sock.family, sock.type) as same:
                same.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Close the connection in good order, within a bounded time."""
        with suppress(aiohttp.ClientError, OSError):  # a timeout is an OSError
            async with asyncio.timeout(_CLOSING):
                await self._websocket.close()
        if self.session is not None:
            await self.session.close()
