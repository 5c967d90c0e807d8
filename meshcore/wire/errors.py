"""Errors on the wire: what a caller is told, and the exception that it raises."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from meshcore.codec.codec import Codec, Limits
from meshcore.codec.declared_exceptions import DeclaredException, declared_exception
from meshcore.codec.errors import DecodeError, EncodeError, encodable
from meshcore.core.description import Method
from meshcore.core.errors import AuthorizationError, Code, CommunicationError, MeshError, RemoteError

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 86_400.0  # seconds


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """An error on the wire. What has its default is left out.

    Attributes:
        code: one of the sixteen codes.
        message: the error's text.
        type: the name of a declared exception, empty for any other error.
        fields: of the declared exception, by name.
        details: facts for programs, plain data.
        retryable: whether the same call may succeed if it is sent again.
        processed: whether an implementation may have begun with the call.
        retry_after: seconds after which the call may come back, None if the server does not ask for a pause.
    """

    code: str
    message: str
    type: str = ""
    fields: msgspec.Raw = msgspec.Raw()
    details: dict[str, Any] = {}
    retryable: bool = False
    processed: bool = True
    retry_after: float | None = None


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


class ErrorCodec:
    """Errors of one method to and from their wire form."""

    def __init__(self, codec: Codec, method: Method, limits: Limits) -> None:
        self._codec = codec
        self._method = method
        self._declared = {cls: declared_exception(cls) for cls in method.raises}
        self._by_name = {declared.name: declared for declared in self._declared.values()}
        self._readers = {declared.name: codec.decoder(declared.carrier, limits) for declared in self._declared.values()}
        self._dump = codec.encoder(Any)
        self._read_details = codec.decoder(dict[str, Any], limits)

    def body_of(self, error: Exception) -> ErrorBody | None:
        """The wire form of a declared exception or a mesh error; None for any other, which is the server's secret."""
        if isinstance(error, MeshError):
            body = mesh_error_body(error)
            if body.details:
                body.details = self._plain(body.details)
            return body
        declared = self._declared_exception(error)
        if declared is None:
            return None
        fields = msgspec.Raw(self._dump(declared.fields_of(error)))
        return ErrorBody(declared.code.value, encodable(str(error)), type=declared.name, fields=fields)

    def _plain(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """The details that the format can express. An implementation may have added any object."""
        found: dict[str, Any] = {}
        for name, value in details.items():
            try:
                found |= self._read_details(self._dump({name: value}))
            except (EncodeError, DecodeError) as error:
                log.warning("%s raised an error whose detail %r cannot be sent: %s", self._method, name, error)
        return found

    def _declared_exception(self, error: Exception) -> DeclaredException | None:
        """The declaration of the error's class or of its nearest declared base."""
        return next((self._declared[cls] for cls in type(error).__mro__ if cls in self._declared), None)

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
