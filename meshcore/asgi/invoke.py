"""`POST /invoke`: the endpoint of the dispatch channels, in plain ASGI because it is the hot path.

Starlette's routing and response classes cost 12 to 30 us per call here, which is a tenth of the whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from meshcore.asgi.gate import AmbiguousError, Gate
from meshcore.asgi.http_call import HTTPCall
from meshcore.asgi.messages import (
    NO_CODINGS,
    UNSUPPORTED,
    Receive,
    Reply,
    Scope,
    Send,
    peer_of,
    read_body,
    refused_coding,
)
from meshcore.asgi.served_call import serve
from meshcore.codec.codec import JSON, MSGPACK, Codec, Limits
from meshcore.codec.errors import DecodeError
from meshcore.core.description import ComponentDescription, Method, Shape
from meshcore.core.errors import Code, LocalError
from meshcore.core.suggest import closest, did_you_mean, shown
from meshcore.server.request import BodyError
from meshcore.server.server import Server
from meshcore.wire.dispatch import HEAD_ENDS, MethodCodec, Request, encode_failure, method_path
from meshcore.wire.errors import ErrorBody, ErrorCodec
from meshcore.wire.headers import RequestHeaders, write_retry_after

_OK = 200


class _Format:
    """The methods of the components in one format.

    Attributes:
        codec: of the format.
        content_type: of answers.
        methods: by their names on the wire.
        by_head: the same methods, by the beginning of a body that our clients send.
        head_end: what such a head ends with.
        head_end_size: the length of that in bytes.
    """

    def __init__(self, codec: Codec, components: Iterable[ComponentDescription], limits: Limits) -> None:
        self.codec = codec
        self.content_type = codec.content_type.encode()
        self.methods = {
            method_path(component.name, method): MethodCodec(codec, component.name, method, limits)
            for component in components
            for service in component.services
            for method in service.methods
            if method.shape is Shape.UNARY
        }
        self.by_head = {method.head: method for method in self.methods.values()}
        self.head_end = HEAD_ENDS[codec]
        self.head_end_size = len(self.head_end)
        # The arguments stay undecoded until the method is known.
        self._read = codec.decoder(Request, limits)
        # The call itself is one level around the arguments.
        self._read_unique = codec.decoder(Request, replace(limits, max_depth=limits.max_depth + 1), unique=True)

    def find(self, body: bytes) -> tuple[MethodCodec, bytes]:
        """The method that a call names, and its arguments, not decoded.

        Raises:
            LocalError: the body is no call, or there is no such method.
        """
        request = self._request(body, self._read)
        method = self.methods.get(request.method)
        if method is None:
            self.check_keys(body)
            raise unknown_method(request.method, self.methods)
        return method, bytes(request.args)

    def check_keys(self, body: bytes) -> None:
        """Refuse a call with a duplicate member.

        Raises:
            LocalError: it does.
        """
        if self.codec is JSON:
            self._request(body, self._read_unique)

    def _request(self, body: bytes, read: Callable[[bytes], Any]) -> Request:
        try:
            request: Request = read(body)
        except DecodeError as error:
            text = f"the body is no call in {self.codec.content_type}: {error}" if body else "the body is empty"
            raise LocalError(Code.INVALID_ARGUMENT, text) from error
        return request


def unknown_method(path: str, known: Iterable[str]) -> LocalError:
    """The error of a call of something that is not offered. It says what was probably meant."""
    return LocalError(Code.UNIMPLEMENTED, f"no method {shown(path)} is offered here{_hint(path, tuple(known))}")


def _hint(path: str, known: Sequence[str]) -> str:
    """The name that was probably meant. Where the service is right, only the method's own name counts."""
    service, _, name = path.rpartition(":")
    names = [each.rpartition(":")[2] for each in known if each.rpartition(":")[0] == service]
    if not names:
        return did_you_mean(path, known)
    close = closest(name, names)
    return f"; did you mean '{service}:{close}'?" if close else did_you_mean(name, names)


class Invoke:
    """The ASGI endpoint."""

    def __init__(
        self, server: Server, components: Iterable[ComponentDescription], gate: Gate, max_body: int, limits: Limits
    ) -> None:
        components = tuple(components)
        self._server = server
        self._gate = gate
        self._max_body = max_body
        self._json = _Format(JSON, components, limits)
        # The seed's servers and clients compare content types for equality; so these are sent exactly like this.
        self._formats = {
            JSON.content_type: self._json,
            MSGPACK.content_type: _Format(MSGPACK, components, limits),
        }

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        headers = RequestHeaders(scope["headers"])
        found = self._formats.get(headers.content_type) or self._format_of(headers.content_type)
        # Nearly all requests have nothing that the gate looks at; to call it takes longer than to look.
        gate = self._gate if headers.rare or self._gate.checks_hosts else None
        call = _Call(headers, peer_of(scope), receive, self._max_body, gate, found or self._json, found is not None)
        return serve(self._server, call, send)

    def _format_of(self, content_type: str) -> _Format | None:
        """The format that a content type with parameters or in another case means: allowed, but rare."""
        return self._formats.get(content_type.partition(";")[0].strip().lower())


class _Call(HTTPCall):
    """One call.

    Attributes:
        max_body: bytes that its body may have.
        gate: judges the request; None if there is nothing to judge.
        format: of the answer, and of the body if that is `known`.
        known: whether the content type names a format.
        called: the method, None as long as it is not known.
        raw: its encoded arguments, None if they follow the head that our clients write.
    """

    max_body: int
    gate: Gate | None
    format: _Format
    known: bool
    called: MethodCodec | None = None
    raw: bytes | None = None

    @property
    def method(self) -> Method | None:
        return None if self.called is None else self.called.method

    @property
    def errors(self) -> ErrorCodec | None:
        return None if self.called is None else self.called.errors

    def body(self) -> Awaitable[bytes]:
        if self.gate is not None:
            self.gate.check_call(self.headers)
        if not self.known:
            raise _unknown_format(self.headers)
        if self.headers.content_coding:
            raise refused_coding(self.headers.content_coding)
        return read_body(self.receive, self.max_body, self.headers.content_length)

    def find(self, body: bytes) -> Method:
        form = self.format
        # Our clients write the bytes before the arguments always in the same way. Comparing them saves 3 us.
        called = form.by_head.get(body[: body.find(form.head_end) + form.head_end_size])
        if called is None:
            called, self.raw = form.find(body)
        self.called = called
        return called.method

    def arguments(self, body: bytes) -> tuple[Any, ...]:
        called = self.called
        assert called is not None  # noqa: S101 - it was found
        if self.raw is None and (arguments := called.arguments_after_head(body)) is not None:
            return arguments
        form = self.format
        again, raw = form.find(body) if self.raw is None else (called, self.raw)
        if again is not called:  # the guard has judged the first of two names
            form.check_keys(body)
            raise LocalError(Code.INVALID_ARGUMENT, "the body names two methods")
        arguments = again.decode_arguments(raw)
        form.check_keys(body)  # last, so that a bad argument is said of its method
        return arguments

    def result(self, value: Any) -> Reply:
        assert self.called is not None  # noqa: S101 - it was called
        return Reply(_OK, self.called.encode_result(value), self.format.content_type)

    def failure(self, error: Exception, told: ErrorBody) -> Reply:
        # A caller that does not send our headers is aspyx-service's: it reads errors only as a text under status 200.
        plain = self.headers.seconds is None
        status = _OK if plain and self.called is not None else Code(told.code).http_status
        data = encode_failure(self.format.codec, _seed_text(told) if plain else told)
        more = write_retry_after(told.retry_after)
        if isinstance(error, AmbiguousError):
            more.append((b"connection", b"close"))
        if isinstance(error, BodyError) and error.status == UNSUPPORTED:
            status = UNSUPPORTED
            more.append(NO_CODINGS)
        return Reply(status, data, self.format.content_type, more)


def _unknown_format(headers: RequestHeaders) -> LocalError:
    got = shown(headers.content_type) if headers.content_type else "none"
    text = f"content type must be {JSON.content_type} or {MSGPACK.content_type}, got {got}"
    return LocalError(Code.INVALID_ARGUMENT, text)


def _seed_text(failure: ErrorBody) -> str:
    """Never empty: the seed's msgpack clients take an empty text for success."""
    return failure.message or failure.type or failure.code
