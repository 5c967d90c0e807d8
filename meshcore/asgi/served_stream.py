"""One streaming call that is one HTTP request, from its body to the last frame of its answer, whatever these look like.

An endpoint implements `StreamCall` for what it does its own way. What `served_call.py` is to other calls, this is to
those that stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from meshcore.asgi.connection import abort_connection
from meshcore.asgi.frame_body import FrameBody
from meshcore.asgi.messages import ClientLeft, Reply, Send
from meshcore.asgi.served_call import LEFT, Counted, count_failure, count_success
from meshcore.core.context.call_scope import Stop, failure_of
from meshcore.core.description import Method
from meshcore.core.streaming.item_buffer import StreamClosedError
from meshcore.core.streaming.pipe import Pipe
from meshcore.server.request import NotRead, ServedRequest
from meshcore.server.streaming.server import StreamingServer
from meshcore.wire.errors import ErrorBody, ErrorCodec

_LAST = 5.0
"""Seconds for the last frames of a stream that has ended, if its reader is slow."""

KEEP_ALIVE = 15.0
"""Seconds after which an answer without items says that it is alive, as the HTML standard proposes (9.2.7)."""


class StreamHead(msgspec.Struct, frozen=True):
    """The head of an answer that streams.

    Attributes:
        status: of HTTP.
        content_type: of the body.
        more: further headers.
    """

    status: int
    content_type: bytes
    more: Sequence[tuple[bytes, bytes]] = ()


class StreamCall(Counted, Protocol):
    """One call, from its request to its answer."""

    @property
    def errors(self) -> ErrorCodec | None:
        """Writes the method's errors, None as long as the method is not known."""
        ...

    @property
    def head(self) -> StreamHead:
        """Of an answer that streams."""
        ...

    @property
    def begin(self) -> bytes:
        """What such an answer begins with, empty for nothing."""
        ...

    @property
    def idle(self) -> bytes:
        """What such an answer contains while there are no items, empty for nothing."""
        ...

    async def find(self, body: FrameBody) -> Method:
        """What is called. Its arguments are not read yet.

        Raises:
            ClientLeft: the client is gone, so there is nobody to answer.
            LocalError: the request is refused.
        """
        ...

    async def arguments(self, body: FrameBody) -> tuple[Any, ...]:
        """Read the arguments of the call that was found.

        Raises:
            ClientLeft: as above.
            LocalError: the arguments do not fit the method.
        """
        ...

    def item(self, value: Any) -> bytes:
        """Write an item of the result.

        Raises:
            EncodeError: it does not fit the method's type.
        """
        ...

    def end(self) -> bytes:
        """Write the last frame of a result that ended in order."""
        ...

    def broken(self, told: ErrorBody) -> bytes:
        """Write the last frame of a result that failed after its first item."""
        ...

    def result(self, value: Any) -> Reply:
        """Write the result of a method that does not stream it.

        Raises:
            EncodeError: the value does not fit the method's type.
        """
        ...

    def failure(self, error: Exception, told: ErrorBody) -> Reply:
        """Write the answer of a call that failed before its first item.

        Args:
            error: what was raised, here or by what ran.
            told: what the caller is told of it.
        """
        ...


async def serve_stream(server: StreamingServer, call: StreamCall, body: FrameBody, send: Send) -> None:
    """Run a call and answer it, if anybody waits for that."""
    answer = _Answer(server, call, body, send)
    request: ServedRequest | None = None
    try:
        with server.accept(call.headers, call.peer, body.left) as request:
            method = await call.find(body)
            if (guard := server.guard) is not None and (verified := guard(request, method)) is not None:
                await verified
            arguments = answer.arguments = await call.arguments(body)
            request.check()
            await _run(server, request, answer, body, method, arguments)
            count_success(server, call, request, method, arguments)
    except ClientLeft:
        count_failure(server, call, request, LEFT, answer.arguments)
        return
    except BaseException as error:
        failure = failure_of(error)
        if failure is None or isinstance(failure, NotRead):
            count_failure(server, call, request, LEFT, answer.arguments)
        if failure is None:
            raise
        if not isinstance(failure, NotRead):
            await answer.fail(failure, request)
    finally:
        body.done()


async def _run(
    server: StreamingServer,
    request: ServedRequest,
    answer: _Answer,
    body: FrameBody,
    method: Method,
    arguments: tuple[Any, ...],
) -> None:
    if method.stream_at is None:
        body.done()
    pipe = Pipe()

    async def send_item(item: Any) -> None:
        await pipe.send(answer.call.item(item))

    # A task of its own: what the implementation yields meanwhile goes in one piece.
    writer = asyncio.create_task(answer.write(pipe))
    watcher = asyncio.create_task(body.watch(lambda: request.stop(Stop.CLIENT_LEFT)))
    try:
        result = await server.run_stream(request, method, arguments, send_item)
        pipe.end()
        await writer
        watcher.cancel()  # from here on the connection may end as it should
        await answer.end(method, result)
    except BaseException:
        pipe.end()
        if request.stopped is Stop.CLIENT_LEFT:
            pipe.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                await asyncio.wait([writer])
        raise
    finally:
        writer.cancel()
        watcher.cancel()


class _Answer:
    """The answer to one request.

    Attributes:
        call: writes its parts.
        arguments: of the call, None until they are read.
    """

    def __init__(self, server: StreamingServer, call: StreamCall, body: FrameBody, send: Send) -> None:
        self.call = call
        self.arguments: tuple[Any, ...] | None = None
        self._server = server
        self._body = body
        self._send = send
        self._begun = False
        self._broken = False

    async def write(self, pipe: Pipe) -> None:
        """Send the frames that come, until they end."""
        try:
            while frames := await self._next(pipe):
                await self._begin()
                await self._send({"type": "http.response.body", "body": b"".join(frames), "more_body": True})
        except StreamClosedError:
            return
        except Exception:  # noqa: BLE001 - the connection is broken: of whatever class that error is
            self._broken = True
            pipe.close()

    async def _next(self, pipe: Pipe) -> list[bytes]:
        if not self.call.idle:
            return await pipe.receive_all()
        try:
            async with asyncio.timeout(KEEP_ALIVE):
                return await pipe.receive_all()
        except TimeoutError:
            return [self.call.idle]

    async def end(self, method: Method, result: Any) -> None:
        """Send the last frame; for a method that streams no result it is the whole answer."""
        if not method.yields:
            await self._reply(self.call.result(result))
            return
        await self._begin()
        await self._send({"type": "http.response.body", "body": self.call.end()})

    async def fail(self, failure: Exception, request: ServedRequest | None) -> None:
        """Send an error: with its status, or as the last frame if there were others."""
        if self._broken:
            count_failure(self._server, self.call, request, LEFT, self.arguments)
            abort_connection(self._send)
            return
        told = self._server.report(failure, self.call.method, self.call.errors, request)
        count_failure(self._server, self.call, request, told, self.arguments)
        if not self._begun:
            await self._reply(self.call.failure(failure, told))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                await self._send({"type": "http.response.body", "body": self.call.broken(told)})

    async def _reply(self, reply: Reply) -> None:
        """Send an answer in one piece, perhaps before the caller has sent all of its items.

        If that ended the exchange, what it still sends would break the connection, often before it has read the answer.
        So the end waits until it has seen the answer and leaves.
        """
        early, held = not self._body.ended, list[MutableMapping[str, Any]]()

        async def send(message: MutableMapping[str, Any]) -> None:
            if early and message["type"] == "http.response.body" and not message.get("more_body"):
                message = {**message, "more_body": True}
                held.append({"type": "http.response.body", "body": b""})
            await self._send(message)

        await reply.send(send, close=early or self._server.draining)
        if held:
            await self._body.discard()
            await self._send(held[0])

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            head = self.call.head
            headers = [(b"content-type", head.content_type), (b"cache-control", b"no-store"), *head.more]
            headers.append((b"x-accel-buffering", b"no"))  # nginx would collect the items
            await self._send({"type": "http.response.start", "status": head.status, "headers": headers})
            if self.call.begin:
                await self._send({"type": "http.response.body", "body": self.call.begin, "more_body": True})
