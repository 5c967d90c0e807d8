"""Parses the arguments of a call, typed as `name=value` or given as JSON on stdin, by the types of the method."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import anyio.to_thread
import msgspec

from meshcore.codec.codec import JSON
from meshcore.codec.errors import DecodeError, TravelError
from meshcore.codec.text import from_text
from meshcore.core.description import Method, Parameter
from meshcore.core.errors import ConfigurationError
from meshcore.core.suggest import did_you_mean

STDIN = "-"
_Parse = Callable[[Parameter], Any]
"""Parses one value by the type of its parameter."""


def read_arguments(method: Method, words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Parse the positional and the named arguments of a call.

    Args:
        method: the method to call.
        words: each is `name=value`, where the value is JSON or text, or `-` for JSON on stdin: an object, or an array
            in the order of the signature. A stream is read from stdin instead.

    Raises:
        ConfigurationError: with every problem.
    """
    problems: list[str] = []
    given: dict[str, _Parse] = {}
    for word in words:
        if word == STDIN:
            found: Mapping[str, _Parse] = _from_document(method, sys.stdin.buffer.read(), problems)
        else:
            name, equals, value = word.partition("=")
            found = {name: _from_word(value)} if equals else {}
            if not equals:
                problems.append(f"{word!r} is not of the form name=value")
        problems += [f"{name} is given twice" for name in found if name in given]
        given |= found
    known = {parameter.name: parameter for parameter in method.parameters}
    problems += [f"no parameter {name!r}{did_you_mean(name, known)}" for name in given if name not in known]
    streams = [parameter.name for parameter in method.parameters if parameter.stream]
    text = "is a stream, whose items are read from stdin: one line of JSON each"
    problems += [f"{name} {text}" for name in streams if name in given]
    given |= dict.fromkeys(streams, _items)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in known.items():
        if name not in given:
            if parameter.required:
                problems.append(f"{name} is missing")
            continue
        try:
            value = given[name](parameter)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if parameter.positional_only:
            positional.append(value)
        else:
            named[name] = value
    if problems:
        signature = " ".join(f"{name}=..." for name in known)
        raise ConfigurationError(f"cannot call {method} ({signature or 'takes nothing'})", problems)
    return positional, named


async def _items(parameter: Parameter) -> AsyncIterator[Any]:
    """The items of a stream: lines of JSON on stdin, each read when it is needed.

    Raises:
        ConfigurationError: a line does not fit.
    """
    read = JSON.decoder(parameter.type)
    number = 0
    while line := await anyio.to_thread.run_sync(sys.stdin.buffer.readline, abandon_on_cancel=True):
        number += 1
        if not line.strip():
            continue
        try:
            item = read(line)
        except DecodeError as error:
            text = f"line {number} of stdin: {error}"
            raise ConfigurationError(f"{parameter.name} cannot be read", [text]) from error
        yield item


def _from_document(method: Method, data: bytes, problems: list[str]) -> dict[str, _Parse]:
    try:
        if not data.lstrip().startswith(b"["):
            by_name = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            return {name: _from_json(value) for name, value in by_name.items()}
        values = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        problems.append(f"stdin must be a JSON object of arguments: {error}")
        return {}
    if len(values) > len(method.parameters):
        problems.append(f"stdin has {len(values)} arguments, {method} takes {len(method.parameters)}")
    pairs = zip(method.parameters, values, strict=False)
    return {parameter.name: _from_json(value) for parameter, value in pairs}


def _from_json(value: msgspec.Raw) -> _Parse:
    return lambda parameter: JSON.decoder(parameter.type)(bytes(value))


def _from_word(typed: str) -> _Parse:
    """Parse a value as JSON; if that fails, as text."""

    def parse(parameter: Parameter) -> Any:
        try:
            return JSON.decoder(parameter.type)(typed.encode())
        except DecodeError as error:
            try:
                return from_text(parameter.type)(typed)
            except TravelError:
                raise error from None  # the type has no text form, so the error of the JSON is the one to report

    return parse
