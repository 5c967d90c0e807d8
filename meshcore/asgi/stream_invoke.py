"""`POST /invoke/stream`: the endpoint of streaming calls of the dispatch channels, see `wire/streamed_bodies.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from typing import Any

from meshcore.asgi.connection import abort_connection
from meshcore.asgi.frame_body import BodyItems, FrameBody
from meshcore.asgi.gate import Gate
from meshcore.asgi.messages import ClientLeft, Receive, Reply, Scope, Send, peer_of, refused_coding
from meshcore.codec.codec import JSON, Codec, Limits
from meshcore.codec.errors import DecodeError
from meshcore.core.call_scope import Stop, failure_of
from meshcore.core.description import ComponentDescription, Shape
from meshcore.core.errors import Code, LocalError
from meshcore.core.streaming.item_buffer import StreamClosedError
from meshcore.core.streaming.pipe import Pipe
from meshcore.core.suggest import did_you_mean, shown
from meshcore.server.request import NotRead, ServedRequest
from meshcore.server.streaming.server import StreamingServer
from meshcore.wire.dispatch import Request, encode_failure, method_path
from meshcore.wire.headers import RequestHeaders, write_retry_after
from meshcore.wire.streamed_bodies import CONTENT_TYPES, FrameReader, StreamCodec, write_frame

_OK = 200
_LAST = 5.0
"""Seconds for the last frames of a stream that has ended, if its reader is slow."""


class _Format:
    """The streaming methods of the components in one format."""

    def __init__(self, codec: Codec, components: Iterable[ComponentDescription], limits: Limits) -> None:
        self.codec = codec
        self.content_type = CONTENT_TYPES[codec].encode()
        self.methods = {
            method_path(component.name, method): StreamCodec(codec, component.name, method, limits)
            for component in components
            for service in component.services
            for method in service.methods
            if method.shape in {Shape.SERVER_STREAM, Shape.CLIENT_STREAM}
        }
        self._read = codec.decoder(Request, limits)

    def read_call(self, frame: bytes | None) -> tuple[StreamCodec, tuple[Any, ...]]:
        """The method that the first frame names, and the arguments in it.

        Raises:
            LocalError: it is no call, there is no such method, or the arguments do not fit.
        """
        try:
            request: Request = self._read(frame or b"")
        except DecodeError as error:
            text = f"the first frame is no call: {error}" if frame else "the body is empty"
            raise LocalError(Code.INVALID_ARGUMENT, text) from error
        method = self.methods.get(request.method)
        if method is None:
            hint = did_you_mean(request.method, self.methods)
            raise LocalError(Code.UNIMPLEMENTED, f"no streaming method {shown(request.method)} is offered here{hint}")
        return method, method.call.decode_arguments(bytes(request.args))


class StreamInvoke:
    """The ASGI endpoint."""

    def __init__(
        self,
        server: StreamingServer,
        components: Iterable[ComponentDescription],
        gate: Gate,
        max_body: int,
        limits: Limits,
    ) -> None:
        components = tuple(components)
        self._server = server
        self._gate = gate
        self._max_body = max_body
        formats = [_Format(codec, components, limits) for codec in CONTENT_TYPES]
        self._formats = {CONTENT_TYPES[each.codec]: each for each in formats}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = RequestHeaders(scope["headers"])
        form = self._formats.get(headers.content_type.partition(";")[0].strip().lower())
        known = form or self._formats[CONTENT_TYPES[JSON]]
        body = FrameBody(receive, FrameReader(known.codec, self._max_body), self._max_body)
        answer = _Answer(self._server, known, body, send)
        try:
            with self._server.accept(headers, peer_of(scope), body.left) as request:
                self._gate.check("POST", headers)
                self._check_form(form, headers)
                answer.called, arguments = known.read_call(await body.next())
                request.check()
                await self._run(request, answer, body, arguments)
        except ClientLeft:
            return
        except BaseException as error:
            failure = failure_of(error)
            if failure is None:
                raise
            if not isinstance(failure, NotRead):
                await answer.fail(failure)
        finally:
            body.done()

    def _check_form(self, form: _Format | None, headers: RequestHeaders) -> None:
        if form is None:
            got = shown(headers.content_type) if headers.content_type else "none"
            raise LocalError(Code.INVALID_ARGUMENT, f"content type must be {' or '.join(self._formats)}, got {got}")
        if headers.content_coding:
            raise refused_coding(headers.content_coding)

    async def _run(self, request: ServedRequest, answer: _Answer, body: FrameBody, arguments: tuple[Any, ...]) -> None:
        called = answer.called
        assert called is not None  # noqa: S101 - it was read
        items = BodyItems(body, called.decode_sent)
        if called.method.stream_at is None:
            body.done()
        pipe = Pipe()

        async def send_item(item: Any) -> None:
            await pipe.send(called.encode_received(item))

        # A task of its own: what the implementation yields meanwhile goes in one piece.
        writer = asyncio.create_task(answer.write(pipe))
        watcher = asyncio.create_task(body.watch(lambda: request.stop(Stop.CLIENT_LEFT)))
        try:
            result = await self._server.run_stream(
                request, called.method, called.arguments(arguments, items), send_item
            )
            pipe.end()
            await writer
            watcher.cancel()  # from here on the connection may end as it should
            await answer.end(called.call.encode_result(result))
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
        called: the method, None as long as it is not known.
    """

    def __init__(self, server: StreamingServer, form: _Format, body: FrameBody, send: Send) -> None:
        self._server = server
        self._form = form
        self._body = body
        self._send = send
        self._begun = False
        self._broken = False
        self.called: StreamCodec | None = None

    async def write(self, pipe: Pipe) -> None:
        """Send the frames that come, until they end."""
        try:
            while frames := await pipe.receive_all():
                await self._begin()
                await self._send({"type": "http.response.body", "body": b"".join(frames), "more_body": True})
        except StreamClosedError:
            return
        except Exception:  # noqa: BLE001 - the connection is broken: of whatever class that error is
            self._broken = True
            pipe.close()

    async def end(self, data: bytes) -> None:
        """Send the last frame; for a method that streams no result it is the whole answer."""
        if self.called is not None and not self.called.method.yields:
            await self._reply(Reply(_OK, data, self._form.content_type))
            return
        await self._begin()
        await self._send({"type": "http.response.body", "body": write_frame(self._form.codec, data)})

    async def fail(self, failure: Exception) -> None:
        """Send an error: with its status, or as the last frame if there were others."""
        if self._broken:
            abort_connection(self._send)
            return
        called = self.called
        known = (called.method, called.call.errors) if called is not None else (None, None)
        told = self._server.report(failure, *known)
        data = encode_failure(self._form.codec, told)
        if not self._begun:
            reply = Reply(
                Code(told.code).http_status, data, self._form.content_type, write_retry_after(told.retry_after)
            )
            await self._reply(reply)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                await self._send({"type": "http.response.body", "body": write_frame(self._form.codec, data)})

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
            headers = [(b"content-type", self._form.content_type), (b"cache-control", b"no-store")]
            headers.append((b"x-accel-buffering", b"no"))  # nginx would collect the items
            await self._send({"type": "http.response.start", "status": _OK, "headers": headers})
