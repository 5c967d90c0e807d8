"""Runs a served call. The steps are the same at every endpoint.

    accept > receive the body > check the deadline > read the arguments > run > write the result or the error > send

An endpoint defines a `ServedCall` for what it does its own way. `serve` knows no transport: an endpoint whose calls are
HTTP requests builds on `HTTPCall`; one whose connection carries many calls defines a call and an answer of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

import msgspec

from meshcore.asgi.messages import ClientLeft, Receive
from meshcore.core.call_scope import failure_of
from meshcore.core.description import Method
from meshcore.server.server import Server
from meshcore.wire.errors import ErrorBody, ErrorCodec
from meshcore.wire.headers import RequestHeaders

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


class Answer(Protocol[S_contra]):
    """An answer, encoded."""

    def send(self, send: S_contra, *, close: bool) -> Awaitable[None]:
        """Send it.

        Args:
            send: the way to the caller.
            close: whether the caller is asked to close its connection, as a server that stops does.
        """
        ...


class ServedCall(Protocol[S_contra]):
    """One call, from its request to its answer."""

    @property
    def headers(self) -> RequestHeaders:
        """Of the request."""
        ...

    @property
    def peer(self) -> str:
        """The address of the client's host, "unknown" if the transport does not say."""
        ...

    @property
    def method(self) -> Method | None:
        """What is called, None as long as that is not known."""
        ...

    @property
    def errors(self) -> ErrorCodec | None:
        """Writes the method's errors, None as long as the method is not known."""
        ...

    def left(self) -> Awaitable[object]:
        """Return when the client is gone. Awaited only after the body has come, and only for calls that take long."""
        ...

    def body(self) -> Awaitable[bytes]:
        """Receive the body. What can be refused by its headers is refused before anything is received.

        Raises:
            ClientLeft: the client is gone, so there is nobody to answer.
            LocalError: the body is refused.
        """
        ...

    def arguments(self, body: bytes) -> tuple[Method, tuple[Any, ...]]:
        """Read the body: what is called, and with which arguments.

        Raises:
            LocalError: there is no such method, or its arguments are others.
        """
        ...

    def result(self, value: Any) -> Answer[S_contra]:
        """Write the answer of a call that succeeded.

        Raises:
            EncodeError: the value does not fit the method's type.
        """
        ...

    def failure(self, error: Exception, told: ErrorBody) -> Answer[S_contra]:
        """Write the answer of a call that failed.

        Args:
            error: what was raised, here or by what ran.
            told: what the caller is told of it.
        """
        ...


class HTTPCall(msgspec.Struct):
    """The base of calls that are one HTTP request each.

    Attributes:
        headers: of the request.
        peer: the address of the client's host.
        receive: of ASGI.
    """

    headers: RequestHeaders
    peer: str
    receive: Receive

    async def left(self) -> None:
        """Return when the client is gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def serve(server: Server, call: ServedCall[S], send: S) -> None:
    """Run a call and answer it, if anybody waits for that."""
    try:
        with server.accept(call.headers, call.peer, call.left) as request:
            body = await call.body()
            request.check()
            method, arguments = call.arguments(body)
            result = await server.run(request, method, arguments)
        answer = call.result(result)
    except ClientLeft:
        return
    except BaseException as error:
        failure = failure_of(error)
        if failure is None:
            raise
        answer = call.failure(failure, server.report(failure, call.method, call.errors))
    await answer.send(send, close=server.draining)
