"""The dispatch wire: how a call and its answer look as JSON and as msgpack. It is the seed's wire, extended.

A call is `{"method": "component:service:method", "args": [...]}`, its answer `{"result": ..., "exception": null}`. An
exception is an object with a code; for callers that do not send our headers (aspyx-service) it is a text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from meshcore.codec import JSON, MSGPACK, Codec, DecodeError, EncodeError, Limits
from meshcore.errors import AuthorizationError, Code, CommunicationError, LocalError, MeshError, RemoteError
from meshcore.faults import Fault, fault_of
from meshcore.interface import Method
from meshcore.wording import encodable

log = logging.getLogger("meshcore.envelope")

_LONGEST_PAUSE = 86_400.0  # seconds


class Request(msgspec.Struct):
    """A call whose arguments are not decoded yet: their types depend on the method."""

    method: str
    args: msgspec.Raw


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """An error on the wire.

    Attributes:
        type: the name of a declared exception, empty for any other error.
        fields: of the declared exception.
        retry_after: seconds, None if the server does not ask for a pause.
    """

    code: str
    message: str
    type: str = ""
    fields: msgspec.Raw = msgspec.Raw()
    details: dict[str, Any] = {}
    retryable: bool = False
    processed: bool = True
    retry_after: float | None = None


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
    """How the wire names a method."""
    return f"{component}:{method.service}:{method.name}"


def arguments_type(method: Method) -> type[msgspec.Struct]:
    """A struct type that reads a method's arguments from an array; missing ones at its end take their defaults."""
    last_required = max((at for at, entry in enumerate(method.parameters) if entry.required), default=-1)
    fields: list[Any] = []
    for at, parameter in enumerate(method.parameters):
        if at <= last_required:
            fields.append((parameter.name, parameter.type))
        else:
            # A factory, because msgspec refuses a mutable default; Python shares it between calls, and so does this.
            factory = partial(_same, parameter.default)
            fields.append((parameter.name, parameter.type, msgspec.field(default_factory=factory)))
    return msgspec.defstruct(method.name, fields, array_like=True, forbid_unknown_fields=True)


def mesh_error_body(error: MeshError) -> ErrorBody:
    """The wire form of a mesh error."""
    pause = error.retry_after
    return ErrorBody(
        error.code.value,
        encodable(str(error.message)),
        details=dict(error.details),
        retryable=error.retryable,
        processed=error.processed,
        # An implementation may have raised it with anything; not every format has a form for infinity.
        retry_after=pause if pause is not None and 0 <= pause <= _LONGEST_PAUSE else None,
    )


def _same(value: Any) -> Any:
    return value


class ErrorCodec:
    """Errors of one method to and from their wire form."""

    def __init__(self, codec: Codec, method: Method, limits: Limits) -> None:
        self._codec = codec
        self._method = method
        self._faults = {cls: fault_of(cls) for cls in method.raises}
        self._by_name = {fault.name: fault for fault in self._faults.values()}
        self._readers = {fault.name: codec.decoder(fault.carrier, limits) for fault in self._faults.values()}
        self._dump = codec.encoder(Any)
        self._read_details = codec.decoder(dict[str, Any], limits)

    def body_of(self, error: Exception) -> ErrorBody | None:
        """The wire form of a declared exception or a mesh error; None for any other, which is the server's secret."""
        if isinstance(error, MeshError):
            body = mesh_error_body(error)
            if body.details:
                body.details = self._plain(body.details)
            return body
        fault = self._fault_of(error)
        if fault is None:
            return None
        fields = msgspec.Raw(self._dump(fault.fields_of(error)))
        return ErrorBody(fault.code.value, encodable(str(error)), type=fault.name, fields=fields)

    def _plain(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """What of the details the format can carry: an implementation may have put anything there."""
        found: dict[str, Any] = {}
        for name, value in details.items():
            try:
                found |= self._read_details(self._dump({name: value}))
            except (EncodeError, DecodeError) as error:
                log.warning("%s raised an error whose detail %r cannot be sent: %s", self._method, name, error)
        return found

    def _fault_of(self, error: Exception) -> Fault | None:
        """The declaration of the error's class or of its nearest declared base."""
        return next((self._faults[cls] for cls in type(error).__mro__ if cls in self._faults), None)

    def restore(self, body: ErrorBody | str) -> Exception:
        """The error that a caller sees for a wire form."""
        if isinstance(body, str):  # the seed's form: a text says all
            return RemoteError(Code.UNKNOWN, body)
        read = self._readers.get(body.type)
        if read is not None:
            try:
                return self._by_name[body.type].restore(read(bytes(body.fields)))
            except Exception as error:  # noqa: BLE001 - the class's own code may raise anything
                text = f"{self._method} raised {body.type}, but its fields do not fit: {error}"
                return CommunicationError(Code.INTERNAL, text, retryable=False)
        message, details = body.message, body.details
        if body.type:  # declared by the server, and unknown here
            message, details = f"{body.type}: {message}", {**details, "exception": body.type}
        return restore_error(
            body.code,
            message,
            details,
            retryable=body.retryable,
            processed=body.processed,
            retry_after=body.retry_after,
        )


def restore_error(
    code: str,
    message: str,
    details: Mapping[str, Any],
    *,
    retryable: bool,
    processed: bool,
    retry_after: float | None = None,
) -> MeshError:
    """The mesh error that a server answered with."""
    try:
        known = Code(code)
    except ValueError:
        known, message = Code.UNKNOWN, f"{code}: {message}"
    authorization = known in {Code.UNAUTHENTICATED, Code.PERMISSION_DENIED}
    family = AuthorizationError if authorization else RemoteError
    return family(known, message, details=details, retryable=retryable, processed=processed, retry_after=retry_after)


def unfit_answer(method: Method, failure: DecodeError, *, readable: bool) -> CommunicationError:
    """The error of an answer without a result of the method's type.

    Args:
        method: that was called.
        failure: what is wrong.
        readable: whether it is an answer at all. Then it is one to another version of the interface, and every instance
            of that version would give the same. Else its instance is broken, or not the one that was meant, or somebody
            on the way answers for it: another instance may do better.
    """
    return CommunicationError(Code.INTERNAL, f"the answer to {method} does not fit: {failure}", retryable=not readable)


HEAD_ENDS = {JSON: b'"args":', MSGPACK: b"\xa4args"}
"""What a head ends with; see `MethodCodec`."""


class MethodCodec:
    """Everything that one method needs in one format, on both sides; built once.

    Attributes:
        head: how the body of a call begins, before its arguments, if it was written by `encode_request`.
    """

    def __init__(self, codec: Codec, component: str, method: Method, limits: Limits) -> None:
        self._method = method
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
            text = f"{self._method}: {self._argument_path(error.path)}: {error.reason}"
            raise LocalError(Code.INVALID_ARGUMENT, text) from error

    def decode_answer(self, data: bytes) -> Any:
        """The result in an answer.

        Raises:
            RemoteError: the answer is an error. A declared exception is raised as itself.
            CommunicationError: the answer is not one, or its result does not fit the interface.
        """
        try:
            return self._read_answer(data).result
        except DecodeError as error:
            failure = error
        # Rare, so it may read twice: an answer with an exception has a null result that does not fit its type.
        try:
            exception = self.decode_failure(data)
        except DecodeError:
            raise unfit_answer(self._method, failure, readable=False) from failure
        if exception is not None:
            raise exception
        raise unfit_answer(self._method, failure, readable=True) from failure

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
            return msgspec.structs.astuple(self._read_arguments(data))
        except DecodeError as error:
            text = self._misfit(data) or f"{self._argument_path(error.path)}: {error.reason}"
            raise LocalError(Code.INVALID_ARGUMENT, f"{self._method}: {text}") from error

    def arguments_after_head(self, body: bytes) -> tuple[Any, ...] | None:
        """The arguments in the body of a call that begins with the head; None if it goes on otherwise."""
        end = len(body) - len(self._tail)
        if body[end:] != self._tail:
            return None
        try:
            return msgspec.structs.astuple(self._read_arguments(body[len(self.head) : end]))
        except DecodeError:
            return None

    def _misfit(self, data: bytes) -> str:
        """What is wrong if not the arguments themselves are, but how they come."""
        try:
            count = len(self._read_list(data))
        except DecodeError as error:
            return f"$.args: {error.reason}; they go by position: {self._signature}" if error.path == "$" else ""
        parameters = self._method.parameters
        least = max((at for at, entry in enumerate(parameters, start=1) if entry.required), default=0)
        if least <= count <= len(parameters):
            return ""
        takes = f"{least} to {len(parameters)}" if least < len(parameters) else f"{least}"
        return f"$.args: takes {takes} arguments {self._signature}, got {count}"

    @property
    def _signature(self) -> str:
        names = [entry.name if entry.required else f"{entry.name}=..." for entry in self._method.parameters]
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
