"""What every wire's endpoint does with a request once it is read: run the call, and send what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshcore.body import Receive, Scope, Send, ServedScope
from meshcore.call import Call
from meshcore.headers import RequestHeaders
from meshcore.interface import Method
from meshcore.mapping import NO_CONTENT
from meshcore.scope import CallScope
from meshcore.server import Server


async def serve_call(
    server: Server,
    method: Method,
    arguments: tuple[Any, ...],
    headers: RequestHeaders,
    deadline: float,
    *,
    scope: Scope,
    receive: Receive,
) -> Any:
    """Run a decoded call for as long as its caller waits and is there, unless its method is shielded from that.

    Args:
        server: runs it.
        method: what is called.
        arguments: of the call.
        headers: of the request.
        deadline: from when the request came: its body and its turn have taken their part.
        scope: of the request.
        receive: tells that the client leaves.

    Raises:
        Exception: what `Server.run` raises; `Server.report` knows what the caller is told of it.
    """
    if method.shielded:  # has all the time that the server grants
        deadline = server.deadline(None)
    call = Call(method, arguments, headers, deadline, headers.attempt, peer=_peer(scope))
    if method.shielded:  # nobody listens for its caller to leave
        return await server.run(call, CallScope(deadline))
    return await server.run(call, ServedScope(deadline, receive))


def _peer(scope: Scope) -> str:
    """The host without its port, which says nothing but which connection of a pool was free."""
    client = scope.get("client")
    return client[0] if client else "unknown"  # a server on a Unix socket does not say


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
