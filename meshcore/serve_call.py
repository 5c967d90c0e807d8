"""What every wire's endpoint does with a request once it is read: run the call, and send what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshcore.body import Receive, Send, ServedScope
from meshcore.call import Call
from meshcore.headers import RequestHeaders
from meshcore.interface import Method
from meshcore.scope import CallScope
from meshcore.server import Server


async def serve_call(
    server: Server, method: Method, arguments: tuple[Any, ...], headers: RequestHeaders, receive: Receive
) -> Any:
    """Run a decoded call for as long as its caller waits and is there, unless its method is shielded from that.

    Raises:
        Exception: what `Server.run` raises; `Server.report` knows what the caller is told of it.
    """
    # What is shielded has all the time that the server grants, and nobody listens for its caller to leave.
    shielded = method.shielded
    deadline = server.deadline(None if shielded else headers.seconds)
    call = Call(method, arguments, headers, deadline, headers.attempt)
    return await server.run(call, CallScope(deadline) if shielded else ServedScope(deadline, receive))


async def send_answer(
    server: Server,
    send: Send,
    status: int,
    data: bytes,
    content_type: bytes,
    more: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Send a complete answer. A server that stops also asks its client to close the connection."""
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(data)), *more]
    if server.draining:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
