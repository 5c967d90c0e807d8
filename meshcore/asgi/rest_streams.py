"""Serves the streaming methods that have a path: JSON lines or server-sent events; see `wire/streaming`."""

from __future__ import annotations

from typing import Any

from meshcore.asgi.connection import reading
from meshcore.asgi.frame_body import BodyItems, FrameBody
from meshcore.asgi.messages import UNSUPPORTED, Receive, Reply, Scope, Send, peer_of, problem_reply, refused_coding
from meshcore.asgi.rest_arguments import PATH_VALUES, RequestReader, check_json
from meshcore.asgi.served_stream import StreamHead, serve_stream
from meshcore.codec.codec import JSON, Limits
from meshcore.core.description import HttpMapping, Method
from meshcore.core.errors import Code
from meshcore.core.suggest import shown
from meshcore.declare.http_mapping import BODY_VERBS
from meshcore.server.request import BodyError
from meshcore.server.streaming.server import StreamingServer
from meshcore.wire.errors import ErrorBody, ErrorCodec
from meshcore.wire.headers import RequestHeaders
from meshcore.wire.problem_details import encode_problem
from meshcore.wire.streaming.event_keys import EventKeys
from meshcore.wire.streaming.item_codec import ItemCodec
from meshcore.wire.streaming.rest_streams import END_MARK, FORMS, JSON_LINES, MARKED, Form, choose_form
from meshcore.wire.streaming.streamed_bodies import FrameReader

_NOT_ACCEPTABLE = 406
_MARKED = (END_MARK.encode(), MARKED.encode())
_VARY = (b"vary", b"accept")
_JSON_TYPE = JSON.content_type.encode()


class StreamEndpoint:
    """The ASGI callable that serves one method.

    Attributes:
        method: which.
        status: of its answers.
        max_body: bytes that a body without a stream, or an item of one, may have.
        has_body: whether a body is read.
        reader: reads the arguments that are no stream.
        items: reads and writes items.
        keys: the ids of events, None if the interface does not say how to go on behind one.
        write: writes a result that is no stream.
        errors: writes errors.
    """

    def __init__(
        self, server: StreamingServer, method: Method, http: HttpMapping, max_body: int, limits: Limits
    ) -> None:
        self._server = server
        self.method = method
        self.status = http.status
        self.max_body = max_body
        self.has_body = http.verb in BODY_VERBS
        self.reader = RequestReader(method, limits)
        self.items = ItemCodec(JSON, method, limits)
        self.keys = EventKeys.of(method)
        self.write = JSON.encoder(None if method.yields else method.returns, validate=True)
        self.errors = ErrorCodec(JSON, method, limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. HEAD asks for the head only, and a stream may have no end: so nothing is called."""
        call = _Call(scope, self)
        if scope["method"] == "HEAD":
            async with reading(self._server.request_timeout, send):
                headers = [(b"content-type", call.head.content_type), _VARY]
                await send({"type": "http.response.start", "status": self.status, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
            return
        body = FrameBody(receive, FrameReader(JSON, self.max_body), self.max_body)
        await serve_stream(self._server, call, body, send)


class _Call:
    """One call.

    Args:
        scope: of ASGI.
        endpoint: what all calls of the method have in common.
    """

    def __init__(self, scope: Scope, endpoint: StreamEndpoint) -> None:
        self.headers = RequestHeaders(scope["headers"])
        self.peer = peer_of(scope)
        self._scope = scope
        self._endpoint = endpoint
        self._chosen = choose_form(self.headers.all_of("accept")) if endpoint.method.yields else FORMS[0]
        self._form: type[Form] = self._chosen or FORMS[0]
        self.begin, self.idle = self._form.begin(), self._form.idle

    @property
    def method(self) -> Method:
        return self._endpoint.method

    @property
    def errors(self) -> ErrorCodec:
        return self._endpoint.errors

    @property
    def head(self) -> StreamHead:
        return StreamHead(self._endpoint.status, self._form.content_type.encode(), [_MARKED, _VARY])

    async def find(self, body: FrameBody) -> Method:  # noqa: ARG002 - the path names it
        return self._endpoint.method

    async def arguments(self, body: FrameBody) -> tuple[Any, ...]:
        endpoint, headers = self._endpoint, self.headers
        if headers.content_coding and endpoint.has_body:
            raise refused_coding(headers.content_coding)
        whole = b""
        if self.method.stream_at is None:
            whole = await body.whole(headers.content_length)
            if endpoint.has_body:
                check_json(self.method, headers, whole)
        elif headers.content_type.partition(";")[0].strip().lower() != JSON_LINES:
            got = shown(headers.content_type) if headers.content_type else "none"
            text = f"{self.method}: content type must be {JSON_LINES}, got {got}"
            raise BodyError(UNSUPPORTED, Code.INVALID_ARGUMENT, text)
        if self._chosen is None:
            types = " or ".join(form.content_type for form in FORMS)
            text = f"{self.method}: the result comes as {types}, and the header accept has neither"
            raise BodyError(_NOT_ACCEPTABLE, Code.INVALID_ARGUMENT, text)
        values, query = self._scope[PATH_VALUES], self._scope["query_string"]
        arguments = endpoint.reader.read(values, query, headers, whole)
        if endpoint.keys is not None:
            arguments = endpoint.keys.resumed(arguments, headers)
        return endpoint.items.arguments(arguments, BodyItems(body, endpoint.items.decode_sent))

    def item(self, value: Any) -> bytes:
        keys = self._endpoint.keys
        key = keys.write(value) if keys is not None and self._form.keyed else ""
        return self._form.item(self._endpoint.items.encode_received(value), key)

    def end(self) -> bytes:
        return self._form.end

    def broken(self, told: ErrorBody) -> bytes:
        return self._form.problem(encode_problem(told)[1], told.retry_after)

    def result(self, value: Any) -> Reply:
        return Reply(self._endpoint.status, self._endpoint.write(value), _JSON_TYPE)

    def failure(self, error: Exception, told: ErrorBody) -> Reply:
        return problem_reply(self.headers, error, told)
