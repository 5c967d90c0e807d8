"""Items of streams, and the argument that is a stream: what all wires of streaming methods have in common."""

from __future__ import annotations

import msgspec

from meshcore.codec.codec import Codec, Limits
from meshcore.codec.errors import DecodeError, EncodeError
from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError, MeshError
from meshcore.wire.errors import unfit_answer


class ItemCodec:
    """Encodes and decodes the items of one streaming method in one format, for clients and servers; built once.

    Attributes:
        method: which.
        plain: the method without its streams: what is left of it goes as any other call.
    """

    def __init__(self, codec: Codec, method: Method, limits: Limits) -> None:
        self.method = method
        parameters = tuple(parameter for parameter in method.parameters if not parameter.stream)
        returns = None if method.yields else method.returns
        self.plain = msgspec.structs.replace(method, parameters=parameters, returns=returns, yields=False)
        self._name = next((parameter.name for parameter in method.parameters if parameter.stream), "")
        sent = next((parameter.type for parameter in method.parameters if parameter.stream), None)
        self._write_sent = codec.encoder(sent)
        self._read_sent = codec.decoder(sent, limits, unique=True)
        received = method.returns if method.yields else None
        self._write_received = codec.encoder(received, validate=True)
        self._read_received = codec.decoder(received, limits)

    def encode_sent(self, item: object) -> bytes:
        """An item of the caller's stream.

        Raises:
            LocalError: it cannot be encoded.
        """
        try:
            return self._write_sent(item)
        except EncodeError as error:
            raise LocalError(Code.INVALID_ARGUMENT, self._about_sent(f"{error.path}: {error.reason}")) from error

    def decode_sent(self, data: bytes) -> object:
        """An item of the caller's stream.

        Raises:
            MeshError: INVALID_ARGUMENT, it does not fit the method's type.
        """
        try:
            return self._read_sent(data)
        except DecodeError as error:
            raise MeshError(Code.INVALID_ARGUMENT, self._about_sent(f"{error.path}: {error.reason}")) from error

    def sent_too_large(self, size: int, limit: int) -> LocalError:
        """The error of an item of the caller's stream that has more bytes than the server takes."""
        text = f"it has {size} bytes, more than the server takes, {limit} (setting max_body)"
        return LocalError(Code.RESOURCE_EXHAUSTED, self._about_sent(text))

    def _about_sent(self, text: str) -> str:
        return f"{self.method}: an item of {self._name!r}: {text}"

    def encode_received(self, item: object) -> bytes:
        """An item of the result.

        Raises:
            EncodeError: it does not fit the method's type.
        """
        return self._write_received(item)

    def decode_received(self, data: bytes) -> object:
        """An item of the result.

        Raises:
            CommunicationError: it does not fit the interface.
        """
        try:
            return self._read_received(data)
        except DecodeError as error:
            raise unfit_answer(self.method, error, readable=True) from error

    def arguments(self, values: tuple[object, ...], stream: object) -> tuple[object, ...]:
        """The arguments of a call that was decoded, with its stream among them."""
        at = self.method.stream_at
        return values if at is None else (*values[:at], stream, *values[at:])

    def without_stream(self, arguments: tuple[object, ...]) -> tuple[object, ...]:
        """The arguments to encode."""
        at = self.method.stream_at
        return arguments if at is None else (*arguments[:at], *arguments[at + 1 :])
