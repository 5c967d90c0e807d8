"""Reads requests from ASGI and sends answers to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from meshcore.core.caller import Peer
from meshcore.core.errors import Code
from meshcore.core.suggest import shown
from meshcore.declare.http_mapping import NO_CONTENT
from meshcore.security.tls.served_connection import UNKNOWN_HOST, served_connection
from meshcore.server.request import BodyError
from meshcore.wire.errors import ErrorBody
from meshcore.wire.headers import RequestHeaders, write_retry_after
from meshcore.wire.problem_details import CONTENT_TYPE as PROBLEM_TYPE
from meshcore.wire.problem_details import encode_problem
from meshcore.wire.rest_paths import request_path

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope: TypeAlias = MutableMapping[str, Any]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# A body over the limit is read and discarded up to this multiple of the limit. If the connection were closed while the
# client still writes, the client would not see the answer.
_DISCARD = 4
_ARRIVED = 2**14  # the bytes of a body that arrive with the head of the request
_PATIENCE, _LARGEST_DISCARDED = 2.0, 2**26  # seconds and bytes

CHUNK = 2**16
"""Bytes of an answer that are sent at once."""


class ClientLeft(Exception):  # noqa: N818 - nothing failed on this side
    """The client closed the connection before its request was complete."""


_UNAUTHORIZED = 401
_PROBING = frozenset({"GET", "HEAD"})
UNSUPPORTED = 415
"""The status of a body in a format or a coding that is not read."""

NO_CODINGS = (b"accept-encoding", b"identity")
"""Goes with that status, if the coding is the reason (RFC 9110, 15.5.16)."""


def refused_coding(coding: str) -> BodyError:
    """The error for a compressed body."""
    text = f"content-encoding {shown(coding)} is not read: send the body as it is, without compression (identity)"
    return BodyError(UNSUPPORTED, Code.INVALID_ARGUMENT, text)


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
    # hypercorn sends the end of a body as a message of its own. Not waiting for that saves 1 us.
    if not message.get("more_body") or len(body) == length:
        if len(body) > limit:
            raise _too_large(limit)
        return body
    # One array and no list of chunks: as a chunk, each byte could take fifty.
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


async def discard_body(receive: Receive, length: int | None) -> None:
    """Read a body that nobody needs, for a bounded time.

    A server that answers before it has read the request closes the connection. What the client still sends then breaks
    the connection, often before the client has read the answer. So it could not know that its call was refused.

    Args:
        receive: of ASGI.
        length: how many bytes the body has, None if that is not known.
    """
    if length is not None and length <= _ARRIVED:
        return
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while size < _LARGEST_DISCARDED and (message := await receive())["type"] == "http.request":
                size += len(message.get("body", b""))
                if not message.get("more_body") or size == length:
                    return


def _too_large(limit: int) -> BodyError:
    return BodyError(413, Code.RESOURCE_EXHAUSTED, f"the body is larger than {limit} bytes (setting max_body)")


PEER = "meshcore.peer"
"""The key of a scope under which a server within this process, such as that of tests, says who calls."""


def peer_of(scope: Scope) -> Peer:
    """The client, with what its connection has proven. Its host is "unknown" on a Unix socket.

    A port would only say which connection of a pool was free. Headers that tell of a certificate, such as those of a
    proxy, are not looked at: anybody can send them.
    """
    said: Peer | None = scope.get(PEER)
    if said is not None:
        return said
    client, connection = scope.get("client"), served_connection.get()
    if connection is not None:
        return connection.peer(client)
    return Peer(client[0] if client else UNKNOWN_HOST)


def is_probe(scope: Scope, paths: Collection[str]) -> bool:
    """Whether a request is a probe, not a call: other verbs, and WebSockets, may have the same path as one.

    Args:
        scope: of the request.
        paths: those of the probes.
    """
    return scope["type"] == "http" and scope["method"] in _PROBING and request_path(scope) in paths


@lru_cache(maxsize=1024)  # the same lengths recur; to write one takes 0.2 us
def _length_header(length: int) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % length


class Reply(msgspec.Struct, frozen=True):
    """A complete HTTP response.

    Attributes:
        status: of HTTP.
        data: the body.
        content_type: of the body.
        more: further headers.
    """

    status: int
    data: bytes
    content_type: bytes
    more: Sequence[tuple[bytes, bytes]] = ()

    async def send(self, send: Send, *, close: bool) -> None:
        """Send it.

        Args:
            send: of ASGI.
            close: whether the client is asked to close the connection, as a server that stops does.
        """
        data = self.data
        if self.status == NO_CONTENT:  # neither a body nor its length (RFC 9110, 8.6)
            data, headers = b"", list(self.more)
        else:
            headers = [(b"content-type", self.content_type), _length_header(len(data))]
            if self.more:
                headers.extend(self.more)
        if close:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if len(data) > CHUNK:
            # The server holds one part at a time. The rest goes with this call, if its client does not read.
            last = len(data) - CHUNK
            for start in range(0, last, CHUNK):
                await send({"type": "http.response.body", "body": data[start : start + CHUNK], "more_body": True})
            data = data[(last - 1) // CHUNK * CHUNK + CHUNK :]
        await send({"type": "http.response.body", "body": data})

    @property
    def size(self) -> int:
        """The bytes of the body."""
        return len(self.data)


def problem_reply(headers: RequestHeaders, error: Exception, told: ErrorBody) -> Reply:
    """The answer of REST for an error.

    Args:
        headers: of the request.
        error: what was raised.
        told: what the caller is told of it.
    """
    status, data = encode_problem(told, error.status if isinstance(error, BodyError) else None)
    more = write_retry_after(told.retry_after)
    if status == _UNAUTHORIZED:  # which must say how to authenticate (RFC 9110, 15.5.2)
        more.append((b"www-authenticate", b"Bearer"))
    if status == UNSUPPORTED and headers.content_coding:
        more.append(NO_CODINGS)
    return Reply(status, data, PROBLEM_TYPE.encode(), more)


def with_header(send: Send, name: bytes, value: bytes) -> Send:
    """Set a header of the answer."""

    async def send_with_header(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            others = [each for each in message.get("headers", ()) if each[0].lower() != name]
            message = {**message, "headers": [*others, (name, value)]}
        await send(message)

    return send_with_header
