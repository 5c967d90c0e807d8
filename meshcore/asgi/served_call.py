"""Runs a served call. The steps are the same at every endpoint, and all are within the time of the call.

    accept > receive the body > check the deadline > find the method > ask the guard > read the arguments > run
        > write the result or the error > send

An endpoint defines a `ServedCall` for what it does its own way. `serve` knows no transport: an endpoint whose calls are
HTTP requests builds on `HTTPCall`; one whose connection carries many calls defines a call and an answer of its own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from meshcore.asgi.messages import CHUNK, ClientLeft
from meshcore.core.caller import Peer
from meshcore.core.context.call_scope import failure_of
from meshcore.core.description import Method
from meshcore.core.errors import Code
from meshcore.server.request import NotRead, ServedRequest
from meshcore.server.server import Server
from meshcore.telemetry.logs.access_log import write_access
from meshcore.wire.errors import ErrorBody, ErrorCodec
from meshcore.wire.headers import RequestHeaders

Run: TypeAlias = Callable[[ServedRequest, Method, tuple[Any, ...]], Awaitable[Any]]
"""Runs an admitted call."""

LEFT: Final = ErrorBody(Code.CANCELED.value, "the caller has left")
"""What is counted of a call whose caller is told nothing, since it has left."""

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


class Answer(Protocol[S_contra]):
    """An answer, encoded."""

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    def send(self, send: S_contra, *, close: bool) -> Awaitable[None]:
        """Send it.

        Args:
            send: the way to the caller.
            close: whether the caller is asked to close its connection, as a server that stops does.
        """
        ...


class Counted(Protocol):
    """What counts of a call, and what the access log says of it."""

    @property
    def headers(self) -> RequestHeaders:
        """Of the request."""
        ...

    @property
    def peer(self) -> Peer:
        """The client."""
        ...

    @property
    def method(self) -> Method | None:
        """What is called, None as long as that is not known."""
        ...


class ServedCall(Counted, Protocol[S_contra]):
    """One call, from its request to its answer."""

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

    def find(self, body: bytes) -> Method:
        """What is called. Its arguments are not read yet.

        Raises:
            LocalError: the body is no call, or there is no such method.
        """
        ...

    def arguments(self, body: bytes) -> tuple[Any, ...]:
        """Read the arguments of the call that was found.

        Raises:
            LocalError: they do not fit the method.
        """
        ...

    def cut_off(self, send: S_contra) -> None:
        """End the connection at once: its client does not read what is sent.

        Args:
            send: the way to the caller.
        """
        ...

    async def discard(self) -> None:
        """Take what the caller still sends of a call that is refused, so that it reads the answer."""
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


async def serve(server: Server, call: ServedCall[S], send: S, run: Run | None = None) -> None:
    """Run a call and answer it, if anybody waits for that. Its time and the server's limits cover the sending, too.

    Args:
        server: admits it.
        call: what is called.
        send: the way to the caller.
        run: runs it, in place of the server's `run`.
    """
    request: ServedRequest | None = None
    arguments: tuple[Any, ...] | None = None
    sending = False
    try:
        with server.accept(call.headers, call.peer, call.left) as request:
            body = await call.body()
            request.check()
            method = call.find(body)
            if (guard := server.guard) is not None and (verified := guard(request, method)) is not None:
                await verified
            arguments = call.arguments(body)
            result = await (run or server.run)(request, method, arguments)
            answer = call.result(result)
            size = answer.size
            del body, result  # they are not needed while a client takes its time to read
            if size <= CHUNK:  # written twice: a `nullcontext` around it would take 0.3 us
                count_success(server, call, request, method, arguments)
                arguments = None
                sending = True
                request.answer()
                await answer.send(send, close=server.draining)
            else:
                with server.sending(size):
                    count_success(server, call, request, method, arguments)
                    arguments = None
                    sending = True
                    request.answer()
                    await answer.send(send, close=server.draining)
    except ClientLeft:
        count_failure(server, call, request, LEFT)
        return
    except NotRead:
        call.cut_off(send)
        return
    except BaseException as error:  # noqa: BLE001 - raised again, or answered
        await answer_failure(server, call, error, send, request, arguments, sending=sending)


async def answer_failure(
    server: Server,
    call: ServedCall[S],
    error: BaseException,
    send: S,
    request: ServedRequest | None,
    arguments: tuple[Any, ...] | None,
    *,
    sending: bool,
) -> None:
    """Answer a call that has failed, and count it.

    Args:
        server: has admitted it, or not.
        call: that has failed.
        error: what was raised.
        send: the way to the caller.
        request: None if it was not admitted.
        arguments: None if they were not read.
        sending: whether a part of its answer may have been sent.

    Raises:
        BaseException: the error, if nothing can be answered.
    """
    failure = failure_of(error)
    try:
        if sending or failure is None:
            if sending:
                call.cut_off(send)
            else:
                count_failure(server, call, request, LEFT, arguments)
            raise error
        if request is None:
            await call.discard()
        told = server.report(failure, call.method, call.errors, request)
        count_failure(server, call, request, told, arguments)
        await _send_failure(server, call, call.failure(failure, told), send)
    finally:
        # The traceback holds this frame: in a cycle, the body and the answer would stay for long.
        del error, failure, arguments


def count_success(
    server: Server, call: Counted, request: ServedRequest, method: Method, arguments: tuple[Any, ...] | None
) -> None:
    """Count a call whose answer is ready, write its line of the access log, and show it to who taps the server.

    Args:
        server: has run it.
        call: what was called.
        request: of the call.
        method: of the call.
        arguments: with which it was called.
    """
    calls = server.served.by_caller[call.peer.key(call.headers.caller)][method]
    seconds = time.monotonic() - request.arrived
    calls.ok.observe(seconds)
    if server.access_log:
        write_access(call, request, method, calls.component)
    if (watch := server.served.watch).on:
        watch.served(calls, call.headers, call.peer, seconds, method, arguments)


def count_failure(
    server: Server,
    call: Counted,
    request: ServedRequest | None,
    told: ErrorBody,
    arguments: tuple[Any, ...] | None = None,
) -> None:
    """Count a call that failed, write its line of the access log, and show it to who taps the server.

    Args:
        server: has refused or run it.
        call: what is called.
        request: None if it was refused.
        told: what its caller is told.
        arguments: None if they were not read.
    """
    seconds = time.monotonic() - request.arrived if request is not None else 0.0
    # The text of a declared exception may be anything; that of another error was written for its reader.
    text = "" if told.type else told.message
    calls, kind = server.served.by_caller[call.peer.key(call.headers.caller)][call.method], told.type or told.code
    calls.fail(told.code, kind, seconds, text)
    if server.access_log:
        write_access(call, request, call.method, calls.component, told.code, told.type)
    if (watch := server.served.watch).on:
        watch.served(calls, call.headers, call.peer, seconds, call.method, arguments, (told.code, kind, text))


async def _send_failure(server: Server, call: ServedCall[S], answer: Answer[S], send: S) -> None:
    try:
        with server.refusal(call.headers, call.peer):
            await answer.send(send, close=server.draining)
    except NotRead:
        call.cut_off(send)
