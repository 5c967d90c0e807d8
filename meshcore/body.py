"""Reads the bodies of requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from meshcore.errors import Code, LocalError

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope: TypeAlias = MutableMapping[str, Any]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# A body over the limit is read on, and thrown away, up to this multiple of it: a connection that is closed while the
# client still writes loses the answer that would have told it why.
_DISCARD = 4


class ClientLeft(Exception):  # noqa: N818 - nothing failed on this side
    """The client closed the connection before its request was complete."""


class BodyError(LocalError):
    """Something is wrong with a request's body that HTTP has a status of its own for.

    Attributes:
        status: which.
    """

    def __init__(self, status: int, code: Code, text: str) -> None:
        super().__init__(code, text)
        self.status = status


async def read_body(receive: Receive, limit: int, length: int | None = None) -> bytes:
    """The whole body.

    Args:
        receive: of ASGI.
        limit: bytes.
        length: how many bytes it has, None if that is not known.

    Raises:
        BodyError: RESOURCE_EXHAUSTED, it is larger than the limit.
        ClientLeft: nobody is there any more.
    """
    message = await receive()
    if message["type"] != "http.request":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    # hypercorn tells the end of a body in a message of its own; not to wait for it saves 1 us.
    if not message.get("more_body") or len(body) == length:
        if len(body) > limit:
            raise _too_large(limit)
        return body
    # One array, not a list of chunks: of a million chunks of one byte each would take fifty.
    whole, size = bytearray(body), len(body)
    while message.get("more_body") and size != length:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        size += len(message.get("body", b""))
        if size <= limit:
            whole += message.get("body", b"")
        elif size > _DISCARD * limit:
            break  # a client that reads no answer before it has sent that much will not read this one either
    if size > limit:
        raise _too_large(limit)
    return bytes(whole)


def _too_large(limit: int) -> BodyError:
    return BodyError(413, Code.RESOURCE_EXHAUSTED, f"the body is larger than {limit} bytes (setting max_body)")
