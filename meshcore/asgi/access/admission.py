"""Says who may send requests to a server whose mesh has an identity, before anything of them is read.

It stands before all endpoints, also WebSockets. It also ends connections in good order: those that TLS says are to be
made anew, because a certificate was replaced or expires.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from meshcore.asgi.connection import close_http2_when_idle, connection_cut
from meshcore.asgi.messages import (
    Application,
    Receive,
    Reply,
    Scope,
    Send,
    discard_body,
    is_probe,
    peer_of,
    problem_reply,
    with_header,
)
from meshcore.codec.codec import JSON, MSGPACK
from meshcore.core.caller import Proof
from meshcore.core.errors import AuthorizationError, Code
from meshcore.security.log_limit import LogLimit
from meshcore.security.tls.served_connection import ServedConnection, served_connection
from meshcore.wire.dispatch import encode_failure
from meshcore.wire.endpoints import INVOKE, INVOKE_STREAM
from meshcore.wire.errors import ErrorBody
from meshcore.wire.headers import RequestHeaders
from meshcore.wire.rest_paths import request_path

log = logging.getLogger(__name__)

_NO_CERTIFICATE: Final = (
    "the connection has proven no identity: this server takes calls by mutual TLS only (setting mutual_tls)"
)
_CLEAR_TEXT: Final = "the connection is clear text, and this server takes calls by mutual TLS only (setting mutual_tls)"

_HTTP_2: Final = "2"


class Admission:
    """Lets requests pass to the endpoints, or refuses them.

    Args:
        endpoint: finds the endpoint of a request.
        open_paths: of the probes, which answer everybody.
        strict: whether all others answer only who has proven an identity.
    """

    def __init__(self, endpoint: Callable[[Scope], Application], open_paths: frozenset[str], *, strict: bool) -> None:
        self._endpoint = endpoint
        self._open_paths = open_paths
        self._strict = strict
        self._refusals = LogLimit()

    def endpoint(self, scope: Scope) -> Application:
        """The application that serves a request."""
        connection = served_connection.get()
        if self._strict and self._refuses(scope, connection):
            return _refuse_websocket if scope["type"] == "websocket" else _refuse
        app = self._endpoint(scope)
        if connection is None:  # of a unix socket, or of another socket without TLS
            return app
        if connection.clear:
            scope["scheme"] = "ws" if scope["type"] == "websocket" else "http"
        if connection.cut is not None and not connection.leaving:
            return app
        return partial(_serve, connection, app)

    def _refuses(self, scope: Scope, connection: ServedConnection | None) -> bool:
        peer = peer_of(scope)
        if peer.caller.proof is Proof.CERTIFICATE or is_probe(scope, self._open_paths):
            return False
        text = "in clear text" if connection is None or connection.clear else "without a certificate"
        if (more := self._refusals.admit(f"{peer.host} {text}")) is not None:
            log.warning(
                "refused a request of %s, which calls %s (setting mutual_tls)%s",
                peer.host,
                text,
                f"; {more} more since the last such line" if more else "",
            )
        return True


async def _serve(connection: ServedConnection, app: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the first request of a connection, or one whose answer says that it is to be made anew."""
    if connection.cut is None:
        connection.cut = connection_cut(send)
    if connection.leaving and scope["type"] == "http":
        if scope.get("http_version") != _HTTP_2:
            send = with_header(send, b"connection", b"close")
        else:
            await app(scope, receive, send)
            close_http2_when_idle(send)
            return
    await app(scope, receive, send)


def _told() -> ErrorBody:
    connection = served_connection.get()
    text = _CLEAR_TEXT if connection is not None and connection.clear else _NO_CERTIFICATE
    return ErrorBody(Code.UNAUTHENTICATED.value, text, processed=False)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    headers, told = RequestHeaders(scope["headers"]), _told()
    reply = problem_reply(headers, AuthorizationError(Code.UNAUTHENTICATED, told.message), told)
    if scope["method"] == "POST" and request_path(scope) in {INVOKE, INVOKE_STREAM}:
        codec = MSGPACK if "msgpack" in headers.content_type else JSON
        reply = Reply(
            reply.status,
            encode_failure(codec, told if headers.seconds is not None else told.message),
            codec.content_type.encode(),
            reply.more,
        )
    await discard_body(receive, headers.content_length)
    await reply.send(send, close=False)


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    if "websocket.http.response" not in scope.get("extensions", ()):
        await send({"type": "websocket.close"})
        return
    told = _told()
    reply = problem_reply(
        RequestHeaders(scope["headers"]), AuthorizationError(Code.UNAUTHENTICATED, told.message), told
    )
    await reply.send(partial(_of_websocket, send), close=False)


def _of_websocket(send: Send, message: Any) -> Awaitable[None]:
    return send({**message, "type": f"websocket.{message['type']}"})
