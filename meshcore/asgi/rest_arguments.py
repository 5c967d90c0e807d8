"""Reads a method's arguments from the parts of an HTTP request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import msgspec

from meshcore.asgi.messages import UNSUPPORTED
from meshcore.codec.codec import JSON, Limits
from meshcore.codec.errors import NOT_UTF8, DecodeError
from meshcore.core.description import Method, Parameter, Source
from meshcore.core.errors import Code, LocalError
from meshcore.core.suggest import shown
from meshcore.server.request import BodyError
from meshcore.wire.headers import RequestHeaders
from meshcore.wire.rest_parameters import TextParameter
from meshcore.wire.rest_paths import unquote_value

PATH_VALUES = "meshcore.asgi.rest_arguments.values"
"""The key of the quoted values of the path in the ASGI scope."""

Values: TypeAlias = Mapping[str, str]
Query: TypeAlias = Mapping[str, list[str]]
_Read: TypeAlias = Callable[["RequestParts"], Any]


class RequestParts(msgspec.Struct):
    """The parts of a request that arguments are read from.

    Attributes:
        values: of the path, quoted.
        query: names that the method does not have do no harm, as is usual with HTTP.
        headers: of the request.
        body: JSON.
    """

    values: Values
    query: Query
    headers: RequestHeaders
    body: bytes


class RequestReader:
    """The arguments of one method without a stream of its caller; what reads them is built once.

    Attributes:
        takes_body: whether a parameter is the body.
    """

    def __init__(self, method: Method, limits: Limits) -> None:
        """Prepare.

        Raises:
            ConfigurationError: a parameter in path, query or headers has no form as text.
        """
        self._method = method
        self._parts = [_part(method, parameter, limits) for parameter in method.parameters if not parameter.stream]
        self.takes_body = any(parameter.source is Source.BODY for parameter in method.parameters)

    def read(self, values: Values, query_string: bytes, headers: RequestHeaders, body: bytes) -> tuple[Any, ...]:
        """The arguments.

        Args:
            values: of the path, quoted.
            query_string: not parsed yet.
            headers: of the request.
            body: JSON.

        Raises:
            LocalError: INVALID_ARGUMENT with everything that is wrong.
        """
        try:
            query = parse_qs(query_string.decode(), keep_blank_values=True, errors="strict") if query_string else {}
        except ValueError as error:
            reason = NOT_UTF8 if isinstance(error, UnicodeDecodeError) else str(error)
            raise LocalError(Code.INVALID_ARGUMENT, f"{self._method}: malformed query: {reason}") from error
        parts = RequestParts(values, query, headers, body)
        arguments: list[Any] = []
        problems: list[str] = []
        for label, read in self._parts:
            try:
                arguments.append(read(parts))
            except DecodeError as error:
                problems.append(f"{label}{error.path.removeprefix('$')}: {error.reason}")
        if problems:
            raise LocalError(Code.INVALID_ARGUMENT, f"{self._method}: {'; '.join(problems)}")
        return tuple(arguments)


def _part(method: Method, parameter: Parameter, limits: Limits) -> tuple[str, _Read]:
    """The name of a parameter in errors, and its reader."""
    if parameter.source is Source.BODY:
        return "body", _body_reader(parameter, limits)
    text = TextParameter(method, parameter)
    name = text.name
    if parameter.source is Source.PATH:
        return text.label, lambda parts: text.read([unquote_value(parts.values[name])])
    if parameter.source is Source.HEADER:
        return text.label, lambda parts: text.read_header(parts.headers.all_of(name))
    return text.label, lambda parts: text.read(parts.query.get(name))


def _body_reader(parameter: Parameter, limits: Limits) -> _Read:
    decode = JSON.decoder(parameter.type, limits, unique=True)

    def read(parts: RequestParts) -> Any:
        if parts.body:
            return decode(parts.body)
        if parameter.required:
            raise DecodeError("", "is missing")
        return parameter.fresh_default()

    return read


def check_json(method: Method, headers: RequestHeaders, body: bytes) -> None:
    """Refuse a body of another content type, such as `text/plain`; `application/merge-patch+json` is one of JSON.

    Also if nobody reads the body: a form of another site may send it without asking this server.

    Raises:
        BodyError: it is no JSON.
    """
    content_type = headers.content_type
    if not body or content_type == JSON.content_type:  # nearly always
        return
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != JSON.content_type and not (media_type.startswith("application/") and media_type.endswith("+json")):
        got = shown(content_type) if content_type else "none"
        text = f"{method}: content type must be {JSON.content_type}, got {got}"
        raise BodyError(UNSUPPORTED, Code.INVALID_ARGUMENT, text)
