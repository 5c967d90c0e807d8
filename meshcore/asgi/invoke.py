"""`POST /invoke`: the endpoint of the dispatch channels, in plain ASGI because it is the hot path.

Starlette's routing and response classes cost 12 to 30 us per call here, which is a tenth of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from meshcore.asgi.messages import ClientLeft, Receive, Scope, Send, left, peer_of, read_body, send_answer
from meshcore.codec.codec import JSON, MSGPACK, Codec, Limits
from meshcore.codec.errors import DecodeError
from meshcore.core.description import ComponentDescription, Method
from meshcore.core.errors import Code, LocalError
from meshcore.core.suggest import closest, did_you_mean, shown
from meshcore.server.server import Server
from meshcore.wire.dispatch import HEAD_ENDS, MethodCodec, Request, encode_failure, method_path
from meshcore.wire.errors import ErrorBody
from meshcore.wire.headers import RequestHeaders, write_retry_after

# The seed's servers and clients compare content types for equality; so these are sent exactly like this.
_CODECS = {JSON.content_type: JSON, MSGPACK.content_type: MSGPACK}
_CONTENT_TYPES = {codec: name.encode() for name, codec in _CODECS.items()}


class _Operation:
    """A method in both formats."""

    __slots__ = ("codecs", "method")

    def __init__(self, component: str, method: Method, limits: Limits) -> None:
        self.method = method
        self.codecs = {codec: MethodCodec(codec, component, method, limits) for codec in (JSON, MSGPACK)}


class Invoke:
    """The ASGI endpoint."""

    def __init__(
        self, server: Server, components: Iterable[ComponentDescription], *, max_body: int, max_depth: int
    ) -> None:
        self._server = server
        self._max_body = max_body
        limits = Limits(max_depth=max_depth)
        self._operations = {
            method_path(component.name, method): _Operation(component.name, method, limits)
            for component in components
            for service in component.services
            for method in service.methods
        }
        self._by_head = {
            method_codec.head: operation
            for operation in self._operations.values()
            for method_codec in operation.codecs.values()
        }
        # JSON's and msgpack's own; the arguments stay raw until the method is known.
        self._read = {codec: codec.decoder(Request, limits) for codec in (JSON, MSGPACK)}
        # The call is a container around what may be so deep.
        self._read_unique = JSON.decoder(Request, Limits(max_depth=max_depth + 1), unique=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = RequestHeaders(scope["headers"])
        codec = _codec(headers.content_type)
        # A caller that does not send our headers is aspyx-service's: it reads errors only as a text under status 200.
        plain = headers.seconds is None
        operation: _Operation | None = None
        more: Sequence[tuple[bytes, bytes]] = ()
        try:
            with self._server.accept(headers, peer_of(scope), left(receive)) as request:
                codec = codec or _no_codec(headers)
                body = await read_body(receive, self._max_body, headers.content_length)
                request.check()
                # A client of ours writes all that stands before the arguments in one way: to know it saves 3 us.
                head = body[: body.find(HEAD_ENDS[codec]) + len(HEAD_ENDS[codec])]
                operation = self._by_head.get(head)
                arguments = None if operation is None else operation.codecs[codec].arguments_after_head(body)
                if operation is None or arguments is None:  # otherwise written, or wrong
                    called, operation = self._find(codec, body)
                    arguments = operation.codecs[codec].decode_arguments(bytes(called.args))
                    self._check_keys(codec, body)  # last, so that a bad argument is said of its method
                result = await self._server.run(request, operation.method, arguments)
            data = operation.codecs[codec].encode_result(result)
            status = 200
        except ClientLeft:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            codec = codec or JSON
            method = operation.method if operation is not None else None
            errors = operation.codecs[codec].errors if operation is not None else None
            failure = self._server.report(error, method, errors)
            more = write_retry_after(failure.retry_after)
            data = encode_failure(codec, _seed_text(failure) if plain else failure)
            status = 200 if plain and operation is not None else Code(failure.code).http_status
        await send_answer(send, status, data, _CONTENT_TYPES[codec], more, close=self._server.draining)

    def _find(self, codec: Codec, body: bytes) -> tuple[Request, _Operation]:
        request = self._request(codec, body, self._read[codec])
        operation = self._operations.get(request.method)
        if operation is None:
            self._check_keys(codec, body)
            hint = self._hint(request.method)
            raise LocalError(Code.UNIMPLEMENTED, f"no method {shown(request.method)} is offered here{hint}")
        return request, operation

    def _check_keys(self, codec: Codec, body: bytes) -> None:
        if codec is JSON:
            self._request(codec, body, self._read_unique)

    def _request(self, codec: Codec, body: bytes, read: Callable[[bytes], Any]) -> Request:
        try:
            request: Request = read(body)
        except DecodeError as error:
            text = f"the body is no call in {codec.content_type}: {error}" if body else "the body is empty"
            raise LocalError(Code.INVALID_ARGUMENT, text) from error
        return request

    def _hint(self, path: str) -> str:
        """The name that was probably meant. Where the service is right, only the method's own name counts."""
        service, _, name = path.rpartition(":")
        names = [known.rpartition(":")[2] for known in self._operations if known.rpartition(":")[0] == service]
        if not names:
            return did_you_mean(path, self._operations)
        close = closest(name, names)
        return f"; did you mean '{service}:{close}'?" if close else did_you_mean(name, names)


def _codec(content_type: str) -> Codec | None:
    codec = _CODECS.get(content_type)
    if codec is None:  # parameters and case are allowed, but rare
        codec = _CODECS.get(content_type.partition(";")[0].strip().lower())
    return codec


def _no_codec(headers: RequestHeaders) -> NoReturn:
    got = shown(headers.content_type) if headers.content_type else "none"
    text = f"content type must be {JSON.content_type} or {MSGPACK.content_type}, got {got}"
    raise LocalError(Code.INVALID_ARGUMENT, text)


def _seed_text(failure: ErrorBody) -> str:
    """Never empty: the seed's msgpack clients take an empty text for success."""
    return failure.message or failure.type or failure.code
