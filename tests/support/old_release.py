"""A server of a release that has no stream: the application refuses WebSockets, as Starlette does."""

from __future__ import annotations

from typing import Any

from meshcore.app import app as current


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI callable."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})
        return
    await current(scope, receive, send)
