"""Reads a method's arguments from the parts of an HTTP request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from meshcore.codec import JSON, DecodeError, Limits
from meshcore.declare import Source
from meshcore.errors import Code, LocalError
from meshcore.interface import Method, Parameter
from meshcore.parameters import TextParameter
from meshcore.paths import unquote_value

Values: TypeAlias = Mapping[str, str]
Query: TypeAlias = Mapping[str, list[str]]
_Read: TypeAlias = Callable[[Values, Query, bytes], Any]


class RequestReader:
    """The arguments of one method; what reads them is built once.

    Attributes:
        takes_body: whether a parameter is the body.
    """

    def __init__(self, method: Method, limits: Limits) -> None:
        """Prepare.

        Raises:
            ConfigurationError: a parameter in path or query has no form as text.
        """
        self._method = method
        self._parts = [_part(method, parameter, limits) for parameter in method.parameters]
        self.takes_body = any(parameter.source is Source.BODY for parameter in method.parameters)

    def read(self, values: Values, query_string: bytes, body: bytes) -> tuple[Any, ...]:
        """The arguments.

        Args:
            values: of the path, quoted.
            query_string: names that the method does not have do no harm, as is usual with HTTP.
            body: JSON.

        Raises:
            LocalError: INVALID_ARGUMENT with everything that is wrong.
        """
        try:
            query = parse_qs(query_string.decode(), keep_blank_values=True, errors="strict") if query_string else {}
        except ValueError as error:
            raise LocalError(Code.INVALID_ARGUMENT, f"{self._method}: malformed query: {error}") from error
        arguments: list[Any] = []
        problems: list[str] = []
        for label, read in self._parts:
            try:
                arguments.append(read(values, query, body))
            except DecodeError as error:
                problems.append(f"{label}{error.path.removeprefix('$')}: {error.reason}")
        if problems:
            raise LocalError(Code.INVALID_ARGUMENT, f"{self._method}: {'; '.join(problems)}")
        return tuple(arguments)


def _part(method: Method, parameter: Parameter, limits: Limits) -> tuple[str, _Read]:
    """How errors call a parameter, and what reads it."""
    if parameter.source is Source.BODY:
        return "body", _body_reader(parameter, limits)
    text = TextParameter(method, parameter)
    name = parameter.name
    if parameter.source is Source.PATH:
        return text.label, lambda values, query, body: text.read([unquote_value(values[name])])  # noqa: ARG005
    return text.label, lambda values, query, body: text.read(query.get(name))  # noqa: ARG005


def _body_reader(parameter: Parameter, limits: Limits) -> _Read:
    decode = JSON.decoder(parameter.type, limits)

    def read(values: Values, query: Query, body: bytes) -> Any:  # noqa: ARG001
        if body:
            return decode(body)
        if parameter.required:
            raise DecodeError("", "is missing")
        return parameter.default

    return read
