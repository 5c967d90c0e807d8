"""A WebSocket of ASGI as the transport of a connection with many calls."""

from __future__ import annotations

from meshcore.asgi.connection import abort_connection
from meshcore.asgi.messages import Receive, Send

GOING_AWAY = 1001
"""The status of a WebSocket that a server closes because it stops (RFC 6455, 7.4.1)."""


class ServedWebSocket:
    """A WebSocket that was accepted."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._open = True

    async def receive(self) -> bytes | None:
        """The next message, None when the connection is closed, or if it is a text, which is no frame."""
        message = await self._receive()
        if message["type"] == "websocket.receive":
            data: bytes | None = message.get("bytes")
            return data
        self._open = False
        return None

    async def send(self, data: bytes) -> None:
        """Write a message.

        Raises:
            OSError: the connection is closed.
        """
        if not self._open:
            raise ConnectionResetError("the WebSocket is closed")
        await self._send({"type": "websocket.send", "bytes": data})

    async def close(self) -> None:
        """Close the connection in good order."""
        if self._open:
            self._open = False
            await self._send({"type": "websocket.close", "code": GOING_AWAY})

    def abort(self) -> None:
        """Close the connection at once, where the ASGI server lets that be done."""
        self._open = False
        abort_connection(self._send)
