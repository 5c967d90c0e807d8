"""Arguments as they are typed: `name=value` each, or a JSON document on stdin, read by the types of a method."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from meshcore.codec.codec import JSON
from meshcore.codec.errors import DecodeError, TravelError
from meshcore.codec.text import from_text
from meshcore.core.description import Method, Parameter
from meshcore.core.errors import ConfigurationError
from meshcore.core.suggest import did_you_mean

STDIN = "-"
_Read = Callable[[Parameter], Any]


def read_arguments(method: Method, words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """The positional and the named arguments of a call.

    Args:
        method: what is called.
        words: `name=value`, where a value is JSON or text; and `-` for a JSON object (or an array, in the order of the
            signature) on stdin.

    Raises:
        ConfigurationError: with everything that does not fit.
    """
    problems: list[str] = []
    given: dict[str, _Read] = {}
    for word in words:
        if word == STDIN:
            found: Mapping[str, _Read] = _from_document(method, sys.stdin.buffer.read(), problems)
        else:
            name, equals, value = word.partition("=")
            found = {name: _from_word(value)} if equals else {}
            if not equals:
                problems.append(f"{word!r} is not of the form name=value")
        problems += [f"{name} is given twice" for name in found if name in given]
        given |= found
    known = {parameter.name: parameter for parameter in method.parameters}
    problems += [f"no parameter {name!r}{did_you_mean(name, known)}" for name in given if name not in known]
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


def _from_document(method: Method, data: bytes, problems: list[str]) -> dict[str, _Read]:
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


def _from_json(value: msgspec.Raw) -> _Read:
    return lambda parameter: JSON.decoder(parameter.type)(bytes(value))


def _from_word(typed: str) -> _Read:
    """Reads JSON, else text."""

    def read(parameter: Parameter) -> Any:
        try:
            return JSON.decoder(parameter.type)(typed.encode())
        except DecodeError as error:
            try:
                return from_text(parameter.type)(typed)
            except TravelError:
                raise error from None  # a type that has no form as text: what is wrong is wrong with the JSON

    return read
