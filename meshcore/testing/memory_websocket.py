"""A WebSocket in memory, between a channel and an ASGI application on the same event loop."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from contextvars import Context
from typing import Any

import aiohttp
from yarl import URL

from meshcore.asgi.messages import PEER, Application
from meshcore.core.caller import Peer
from meshcore.wire.endpoints import STREAM_PROTOCOL

_LEFT = 1006


class MemoryWebSocket:
    """One WebSocket. It is a transport for the client, and messages of ASGI for the application.

    Args:
        url: of the application.
        peer: the client, as the application sees it.

    Attributes:
        over: done when the application has ended.
    """

    def __init__(self, url: URL, peer: Peer) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scope: MutableMapping[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": url.path,
            "raw_path": url.raw_path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", url.raw_authority.encode())],
            "subprotocols": [STREAM_PROTOCOL],
            "client": (peer.host, 0),
            PEER: peer,
            "server": (url.host, url.port),
        }
        self._to_server = asyncio.Queue[bytes | None]()
        self._to_client = asyncio.Queue[bytes | None]()
        self._accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._connected = False
        self._open = True

    async def open(self, application: Application) -> None:
        """Run the application, and return when it has accepted.

        Raises:
            aiohttp.ServerDisconnectedError: it does not accept.
        """
        # In an empty context: the server must not see the deadline or another context variable of the caller.
        self._task = asyncio.get_running_loop().create_task(
            self._run(application), name="meshcore.testing.websocket", context=Context()
        )
        if not await asyncio.shield(self._accepted):
            raise aiohttp.ServerDisconnectedError

    async def _run(self, application: Application) -> None:
        try:
            await application(self._scope, self._receive, self._send)
        finally:
            self._end()
            if not self._accepted.done():
                self._accepted.set_result(False)
            self.over.set_result(None)

    def _end(self) -> None:
        """Let both sides read what has come, and then the end."""
        self._open = False
        self._to_server.put_nowait(None)
        self._to_client.put_nowait(None)

    async def _receive(self) -> MutableMapping[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        data = await self._to_server.get()
        if data is None:
            return {"type": "websocket.disconnect", "code": _LEFT}
        return {"type": "websocket.receive", "bytes": data}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        match message["type"]:
            case "websocket.accept":
                self._accepted.set_result(True)
            case "websocket.send" if self._open:
                self._to_client.put_nowait(message["bytes"])
            case _:
                self._end()

    async def receive(self) -> bytes | None:
        """Return the next message, None when the connection is closed."""
        return await self._to_client.get()

    async def send(self, data: bytes) -> None:
        """Send a message.

        Raises:
            OSError: the connection is closed.
        """
        if not self._open:
            raise ConnectionResetError("the WebSocket is closed")
        self._to_server.put_nowait(data)

    def abort(self) -> None:
        """Close the connection."""
        if self._open:
            self._end()

    async def close(self) -> None:
        """Close the connection, and wait for the end of the application."""
        self.abort()
        await asyncio.wait([self._task], timeout=1.0)
