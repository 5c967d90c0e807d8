"""The payloads of the channel `stream-msgpack`: arguments, results and errors, each alone and in msgpack."""

from __future__ import annotations

from typing import Any

import msgspec

from meshcore.codec.codec import MSGPACK, Limits
from meshcore.codec.errors import DecodeError, EncodeError
from meshcore.core.description import Method, Shape
from meshcore.core.errors import Code, MeshError
from meshcore.wire.dispatch import MethodCodec
from meshcore.wire.errors import ErrorBody, unfit_answer
from meshcore.wire.streaming.item_codec import ItemCodec

encode_error = MSGPACK.encoder(ErrorBody)
"""Encodes the payload of an error."""

_read_error = MSGPACK.decoder(ErrorBody)

TOO_LARGE = "too_large"
"""The detail of an error in place of an answer that is larger than the client takes. Its value is the size in bytes."""


class StreamCodec(MethodCodec):
    """Encodes and decodes the payloads of one method, for clients and servers; built once.

    Attributes:
        path: the name of the method on the wire.
        called: the method. `method` is what is left of it without its streams.
        items: the items of a streaming method, None for others.
        takes_items: whether one of its parameters is a stream. To ask the method takes 0.5 us.
    """

    def __init__(self, component: str, method: Method, limits: Limits) -> None:
        items = None if method.shape is Shape.UNARY else ItemCodec(MSGPACK, method, limits)
        plain = method if items is None else items.plain
        super().__init__(MSGPACK, component, plain, limits)
        self.path = self._path
        self.called = method
        self.items = items
        self.takes_items = method.stream_at is not None
        self._read_result = MSGPACK.decoder(plain.returns, limits)

    def encode_arguments(self, arguments: tuple[Any, ...]) -> bytes:
        """The payload of a call.

        Raises:
            LocalError: an argument cannot be encoded; the text names it.
        """
        try:
            return self._write_arguments(arguments)
        except EncodeError as error:
            raise self._bad_argument(error) from error

    def encode_payload(self, result: Any) -> bytes:
        """The payload of an answer.

        Raises:
            EncodeError: the result does not fit the interface.
        """
        return self._write_result(result)

    def decode_payload(self, data: bytes) -> Any:
        """The result in an answer.

        Raises:
            CommunicationError: it does not fit the interface.
        """
        try:
            return self._read_result(data)
        except DecodeError as failure:
            try:
                msgspec.msgpack.decode(data)
                readable = True
            except (msgspec.DecodeError, ValueError, RecursionError):
                readable = False
            raise unfit_answer(self.method, failure, readable=readable) from failure

    def decode_error(self, data: bytes) -> Exception:
        """The error in an answer, as its caller sees it."""
        try:
            body = _read_error(data)
        except DecodeError as failure:
            return unfit_answer(self.method, failure, readable=False)
        return self.errors.restore(body)


def too_large(method: Method, size: int, limit: int, what: str = "the answer") -> MeshError:
    """The error of a call whose answer is larger than its client takes, or an item of that."""
    text = f"{what} to {method} is larger than {limit} bytes (setting max_body)"
    return MeshError(Code.RESOURCE_EXHAUSTED, text, retryable=False, details={TOO_LARGE: size})
