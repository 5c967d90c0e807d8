"""The dispatch wire: how a call and its answer look as JSON and as msgpack. It is the seed's wire, extended.

A call is `{"method": "component:service:method", "args": [...]}`, its answer `{"result": ..., "exception": null}`. An
exception is an object with a code; for callers that do not send our headers (aspyx-service) it is a text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import astuple

from meshcore.codec.codec import JSON, MSGPACK, Codec, Limits
from meshcore.codec.errors import DecodeError, EncodeError
from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError
from meshcore.wire.errors import ErrorBody, ErrorCodec, unfit_answer


class Request(msgspec.Struct):
    """A call whose arguments are not decoded yet: their types depend on the method."""

    method: str
    args: msgspec.Raw


class _Failure(msgspec.Struct):
    exception: ErrorBody | str | None = None


class _FailedAnswer(msgspec.Struct):
    exception: ErrorBody | str
    result: None = None


def encode_failure(codec: Codec, body: ErrorBody | str) -> bytes:
    """The body of an answer that is an error."""
    return (_FAILED_AS_JSON if codec is JSON else _FAILED_AS_MSGPACK)(_FailedAnswer(body))


_FAILED_AS_JSON = JSON.encoder(_FailedAnswer)
_FAILED_AS_MSGPACK = MSGPACK.encoder(_FailedAnswer)


def method_path(component: str, method: Method) -> str:
    """The name of a method on the wire."""
    return f"{component}:{method.service}:{method.name}"


def arguments_type(method: Method) -> type[msgspec.Struct]:
    """A struct type that reads a method's arguments from an array; missing ones at its end take their defaults."""
    last_required = max((at for at, entry in enumerate(method.parameters) if entry.required), default=-1)
    fields: list[Any] = []
    for at, parameter in enumerate(method.parameters):
        if at <= last_required:
            fields.append((parameter.name, parameter.type))
        else:
            fields.append((parameter.name, parameter.type, msgspec.field(default_factory=parameter.fresh_default)))
    return msgspec.defstruct(method.name, fields, array_like=True, forbid_unknown_fields=True)


HEAD_ENDS = {JSON: b'"args":', MSGPACK: b"\xa4args"}
"""The last bytes of a head; see `MethodCodec`."""


class MethodCodec:
    """Encodes and decodes the calls of one method in one format, for clients and servers; built once.

    Attributes:
        method: which.
        errors: its errors.
        head: how the body of a call begins, before its arguments, if it was written by `encode_request`.
    """

    def __init__(self, codec: Codec, component: str, method: Method, limits: Limits) -> None:
        self.method = method
        self._path = method_path(component, method)
        self.errors = ErrorCodec(codec, method, limits)
        # The envelope around the arguments and the result is constant text, so it is written once, here.
        if codec is JSON:
            self.head, self._tail = b'{"method":%b,"args":' % msgspec.json.encode(self._path), b"}"
            self._answer_head, self._answer_tail = b'{"result":', b',"exception":null}'
        else:
            pack: Callable[[Any], bytes] = msgspec.msgpack.encode
            self.head, self._tail = b"\x82" + pack("method") + pack(self._path) + pack("args"), b""
            self._answer_head, self._answer_tail = b"\x82" + pack("result"), pack("exception") + pack(None)
        self._head_size, self._tail_size = len(self.head), len(self._tail)
        arguments = arguments_type(method)
        self._write_arguments = codec.encoder(arguments)
        self._read_arguments = codec.decoder(arguments, limits, unique=True)
        self._read_list = codec.decoder(list[msgspec.Raw], limits)
        self._write_result = codec.encoder(method.returns, validate=True)
        answer = msgspec.defstruct("Answer", [("result", method.returns), ("exception", None, None)])
        self._read_answer = codec.decoder(answer, limits)
        self._read_failure = codec.decoder(_Failure, limits)

    def encode_request(self, arguments: tuple[Any, ...]) -> bytes:
        """The body of a call.

        Raises:
            LocalError: an argument cannot be encoded; the text names it.
        """
        try:
            return self.head + self._write_arguments(arguments) + self._tail
        except EncodeError as error:
            raise self._bad_argument(error) from error

    def _bad_argument(self, error: EncodeError) -> LocalError:
        text = f"{self.method}: {self._argument_path(error.path)}: {error.reason}"
        return LocalError(Code.INVALID_ARGUMENT, text)

    def decode_answer(self, data: bytes) -> Any:
        """The result in an answer.

        Raises:
            RemoteError: the answer is an error. A declared exception is raised as itself.
            CommunicationError: the answer is not one, or its result does not fit the interface.
        """
        try:
            return self._read_answer(data).result
        except DecodeError as failure:
            # Rare, so it may read twice: an answer with an exception has a null result that does not fit its type.
            try:
                exception = self.decode_failure(data)
            except DecodeError:
                raise unfit_answer(self.method, failure, readable=False) from failure
            if exception is None:
                raise unfit_answer(self.method, failure, readable=True) from failure
        try:
            raise exception
        finally:
            del exception  # its traceback holds this frame

    def decode_failure(self, data: bytes) -> Exception | None:
        """The error in an answer, as its caller sees it; None if it has none.

        Raises:
            DecodeError: the answer is not one.
        """
        exception = self._read_failure(data).exception
        return None if exception is None else self.errors.restore(exception)

    def decode_arguments(self, data: bytes) -> tuple[Any, ...]:
        """The arguments in a call.

        Raises:
            LocalError: they do not fit the signature; the text says which and why.
        """
        try:
            return astuple(self._read_arguments(data))
        except DecodeError as error:
            text = self._misfit(data) or f"{self._argument_path(error.path)}: {error.reason}"
            raise LocalError(Code.INVALID_ARGUMENT, f"{self.method}: {text}") from error

    def arguments_after_head(self, body: bytes) -> tuple[Any, ...] | None:
        """The arguments in the body of a call that begins with the head; None if it goes on otherwise."""
        if not body.endswith(self._tail):
            return None
        try:
            return astuple(self._read_arguments(body[self._head_size : len(body) - self._tail_size]))
        except DecodeError:
            return None

    def _misfit(self, data: bytes) -> str:
        """What is wrong with the list of arguments as a whole; empty if nothing is."""
        try:
            count = len(self._read_list(data))
        except DecodeError as error:
            return f"$.args: {error.reason}; they go by position: {self._signature}" if error.path == "$" else ""
        parameters = self.method.parameters
        least = max((at for at, entry in enumerate(parameters, start=1) if entry.required), default=0)
        if least <= count <= len(parameters):
            return ""
        takes = f"{least} to {len(parameters)}" if least < len(parameters) else f"{least}"
        return f"$.args: takes {takes} arguments {self._signature}, got {count}"

    @property
    def _signature(self) -> str:
        names = [entry.name if entry.required else f"{entry.name}=..." for entry in self.method.parameters]
        return f"[{', '.join(names)}]"

    def encode_result(self, result: Any) -> bytes:
        """The body of an answer.

        Raises:
            EncodeError: the result does not fit the interface.
        """
        return self._answer_head + self._write_result(result) + self._answer_tail

    def _argument_path(self, path: str) -> str:
        """`$[0].price` of the arguments' array is `$.args[0].price` of the body."""
        return f"$.args{path.removeprefix('$')}"
