"""Sends the answer to a request."""

from __future__ import annotations

from collections.abc import Sequence

from meshcore.body import Send
from meshcore.mapping import NO_CONTENT
from meshcore.server import Server


async def send_answer(
    server: Server,
    send: Send,
    status: int,
    data: bytes,
    content_type: bytes,
    more: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Send a complete answer. A server that stops also asks its client to close the connection."""
    if status == NO_CONTENT:  # neither a body nor its length (RFC 9110, 8.6)
        data, headers = b"", list(more)
    else:
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(data)), *more]
    if server.draining:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
