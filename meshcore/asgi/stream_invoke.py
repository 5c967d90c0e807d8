"""`POST /invoke/stream`: the endpoint of streaming calls of the dispatch channels; see `wire/streaming`."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from meshcore.asgi.frame_body import BodyItems, FrameBody
from meshcore.asgi.gate import Gate
from meshcore.asgi.messages import Receive, Reply, Scope, Send, peer_of, refused_coding
from meshcore.asgi.served_stream import StreamHead, serve_stream
from meshcore.codec.codec import JSON, Codec, Limits
from meshcore.codec.errors import DecodeError
from meshcore.core.caller import Peer
from meshcore.core.description import ComponentDescription, Method, Shape
from meshcore.core.errors import Code, LocalError
from meshcore.core.suggest import did_you_mean, shown
from meshcore.server.streaming.server import StreamingServer
from meshcore.wire.dispatch import Request, encode_failure, method_path
from meshcore.wire.errors import ErrorBody, ErrorCodec
from meshcore.wire.headers import RequestHeaders, write_retry_after
from meshcore.wire.streaming.streamed_bodies import CONTENT_TYPES, FrameReader, StreamCodec, write_frame

_OK = 200


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

    def find(self, frame: bytes | None) -> tuple[StreamCodec, bytes]:
        """The method that the first frame names, and the arguments in it, not decoded.

        Raises:
            LocalError: it is no call, or there is no such method.
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
        return method, bytes(request.args)


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

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        headers = RequestHeaders(scope["headers"])
        form = self._formats.get(headers.content_type.partition(";")[0].strip().lower())
        call = _Call(headers, peer_of(scope), self._gate, form, self._formats)
        body = FrameBody(receive, FrameReader(call.codec, self._max_body), self._max_body)
        return serve_stream(self._server, call, body, send)


class _Call:
    """One call.

    Args:
        headers: of the request.
        peer: the client.
        gate: judges the request.
        form: the format that the content type names, None if there is no such.
        forms: all formats, by their content types.

    Attributes:
        codec: of the answer.
    """

    begin = idle = b""

    def __init__(
        self,
        headers: RequestHeaders,
        peer: Peer,
        gate: Gate,
        form: _Format | None,
        forms: Mapping[str, _Format],
    ) -> None:
        self.headers = headers
        self.peer = peer
        self._gate = gate
        self._known = form is not None
        self._form = form or forms[CONTENT_TYPES[JSON]]
        self._choices = tuple(forms)
        self.codec = self._form.codec
        self._called: StreamCodec | None = None
        self._arguments = b""  # until they are read

    @property
    def method(self) -> Method | None:
        return None if self._called is None else self._called.method

    @property
    def errors(self) -> ErrorCodec | None:
        return None if self._called is None else self._called.call.errors

    @property
    def head(self) -> StreamHead:
        return StreamHead(_OK, self._form.content_type)

    async def find(self, body: FrameBody) -> Method:
        self._gate.check_call(self.headers)
        if not self._known:
            got = shown(self.headers.content_type) if self.headers.content_type else "none"
            raise LocalError(Code.INVALID_ARGUMENT, f"content type must be {' or '.join(self._choices)}, got {got}")
        if self.headers.content_coding:
            raise refused_coding(self.headers.content_coding)
        self._called, self._arguments = self._form.find(await body.next())
        return self._called.method

    async def arguments(self, body: FrameBody) -> tuple[Any, ...]:
        called, raw = self._codec, self._arguments
        self._arguments = b""
        values = called.call.decode_arguments(raw)
        if called.method.stream_at is None:
            await body.skip()
        return called.arguments(values, BodyItems(body, called.decode_sent))

    def item(self, value: Any) -> bytes:
        return self._codec.encode_received(value)

    def end(self) -> bytes:
        return write_frame(self.codec, self._codec.call.encode_result(None))

    def result(self, value: Any) -> Reply:
        return Reply(_OK, self._codec.call.encode_result(value), self._form.content_type)

    def failure(self, error: Exception, told: ErrorBody) -> Reply:  # noqa: ARG002
        data = encode_failure(self.codec, told)
        more = write_retry_after(told.retry_after)
        return Reply(Code(told.code).http_status, data, self._form.content_type, more)

    def broken(self, told: ErrorBody) -> bytes:
        return write_frame(self.codec, encode_failure(self.codec, told))

    @property
    def _codec(self) -> StreamCodec:
        assert self._called is not None  # noqa: S101 - it was read
        return self._called
