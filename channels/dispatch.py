"""The dispatch channels. They send every call as `POST /invoke`, in JSON or msgpack."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

from yarl import URL

from meshcore.codec.codec import JSON, MSGPACK, Codec, Limits
from meshcore.codec.errors import DecodeError
from meshcore.core.call import Call, SendItem
from meshcore.core.description import ComponentDescription, Method, Shape
from meshcore.core.errors import Code, CommunicationError, MeshError
from meshcore.core.instances import Endpoint
from meshcore.core.masking import without_secrets
from meshcore.declare.services import channel
from meshcore.ports.channel import ChannelOptions
from meshcore.wire.answer import Answer
from meshcore.wire.dispatch import MethodCodec
from meshcore.wire.endpoints import INVOKE, INVOKE_STREAM
from meshcore.wire.errors import restore_error
from meshcore.wire.headers import RETRY_AFTER, read_retry_after, write_caller
from meshcore.wire.streaming.streamed_bodies import CONTENT_TYPES, StreamCodec, write_frame

from .dispatch_streams import receive_items
from .http import HTTPChannel, parse_url
from .http_streams import StreamRequest, read_whole

_OK = 200
_CLIENT_ERRORS = range(400, 500)
_OF_INSTANCE = frozenset({404, 405, 408, 421, 425, 429})
"""The client errors that another instance may not have: not found, method not allowed, request timeout, misdirected
request, too early, too many requests. The others are errors of the request, at any instance."""


class DispatchChannel(HTTPChannel):
    """Sends `{"method": ..., "args": ...}` in the format of its subclass."""

    codec: ClassVar[Codec]
    streams = frozenset({Shape.SERVER_STREAM, Shape.CLIENT_STREAM})

    def bind(self, component: ComponentDescription, options: ChannelOptions) -> None:
        """Make the codecs of all methods, so that types without a codec fail now."""
        super().bind(component, options)
        limits = Limits(max_depth=options.max_depth, max_items=options.max_items)
        self._methods: dict[Method, MethodCodec] = {
            method: MethodCodec(self.codec, component.name, method, limits)
            for service in component.services
            for method in service.methods
            if method.shape is Shape.UNARY
        }
        self._streams: dict[Method, StreamCodec] = {
            method: StreamCodec(self.codec, component.name, method, limits)
            for service in component.services
            for method in service.methods
            if method.shape in self.streams
        }
        self._caller = write_caller(options.caller)
        self._headers = {"content-type": self.codec.content_type}  # without the caller: a header takes 5 us of a call

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        """Send one call."""
        codec = self._methods[call.method]
        body = codec.encode_request(call.arguments)
        answer = await self.exchange(call, "POST", _invoke_url(endpoint.url), self._headers, body)
        return _result_of(codec, call, endpoint, answer)

    async def invoke_stream(self, call: Call, endpoint: Endpoint, send: SendItem) -> Any:
        """Send one streaming call."""
        codec, limit = self._streams[call.method], self.options.max_body
        first = write_frame(codec.codec, codec.call.encode_request(codec.without_stream(call.arguments)))
        request = StreamRequest(call, codec.encode_sent, first)
        url = URL(f"{_invoke_url(endpoint.url)}{INVOKE_STREAM.removeprefix(INVOKE)}")
        headers = {"content-type": CONTENT_TYPES[self.codec], **self._caller}
        try:
            async with self.exchange_stream(call, "POST", url, headers, request.body) as answer:
                if answer.status == _OK and call.method.yields:
                    last = await receive_items(codec, answer, send, limit)
                else:
                    last = await read_whole(call, answer, limit)
        except CommunicationError as error:
            if request.error is not None:  # of the connection it is known only that the body was not sent
                raise request.error from error
            raise
        return _result_of(codec.call, call, endpoint, last)


def _result_of(codec: MethodCodec, call: Call, endpoint: Endpoint, answer: Answer) -> Any:
    """Return the result in an answer, or raise its error."""
    try:
        if answer.status == _OK:
            return codec.decode_answer(answer.body)
        failure = _failure(codec, answer)
        try:
            raise failure if failure is not None else _status_error(call, endpoint, answer)
        finally:
            del failure  # its traceback holds this frame
    except CommunicationError as error:
        error.message += f" (from {without_secrets(endpoint.url)})"
        raise


@channel("dispatch-json")
class DispatchJsonChannel(DispatchChannel):
    """Sends JSON."""

    codec = JSON


@channel("dispatch-msgpack")
class DispatchMsgpackChannel(DispatchChannel):
    """Sends msgpack. It is the fastest of the channels over HTTP."""

    codec = MSGPACK


@lru_cache(1024)
def _invoke_url(base: str) -> URL:
    """Return the URL for calls. Cached: to parse a URL takes as long as to encode the arguments.

    Raises:
        CommunicationError: the URL of the instance cannot be used.
    """
    parse_url(base)
    return URL(base.rstrip("/") + INVOKE)


def _failure(codec: MethodCodec, answer: Answer) -> Exception | None:
    """Return the error in an answer; None if the answer is not that of a meshcore server, but of a proxy, say."""
    try:
        return codec.decode_failure(answer.body)
    except DecodeError:
        return None


def _status_error(call: Call, endpoint: Endpoint, answer: Answer) -> MeshError:
    """Make the error for an answer that is not that of a meshcore server."""
    status = answer.status
    text = (
        f"{call.method}: {without_secrets(endpoint.url)} answered with HTTP status {status}, not as a meshcore server"
    )
    of_request = status in _CLIENT_ERRORS and status not in _OF_INSTANCE
    code = Code.from_http_status(status) if of_request else Code.UNAVAILABLE
    pause = read_retry_after(answer.headers.get(RETRY_AFTER))
    return restore_error(code.value, text, {}, retryable=not of_request, processed=True, retry_after=pause)
