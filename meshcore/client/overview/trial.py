"""Calls a method by its contract, with arguments as JSON: what the live page offers people to try."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from meshcore.codec.codec import JSON
from meshcore.codec.errors import DecodeError
from meshcore.contract.contract import MethodContract, ServiceContract, Type
from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError
from meshcore.core.suggest import did_you_mean

_DEEPEST = 4
"""Structures in structures that an example shows."""

_EXAMPLES: Mapping[str, Any] = {
    "none": None, "bool": False, "int": 0, "float": 0.0, "str": "", "bytes": "", "decimal": "0",
    "uuid": "00000000-0000-0000-0000-000000000000", "datetime": "2026-01-01T00:00:00Z", "date": "2026-01-01",
    "time": "00:00:00", "timedelta": "PT1S", "any": None, "map": {},
}  # fmt: skip


class Field(msgspec.Struct, frozen=True):
    """What the form asks for.

    Attributes:
        name: of the parameter.
        type: as text.
        required: whether a call needs it.
        example: a value of that type as JSON, or the default.
        description: of the interface's docstring.
    """

    name: str
    type: str
    required: bool
    example: str
    description: str = ""


def fields(service: ServiceContract, method: MethodContract) -> list[Field]:
    """The fields of the form for a method."""
    return [
        Field(
            each.name,
            str(each.type),
            each.required,
            _json(example(each.type, service) if each.required else each.default),
            each.description,
        )
        for each in method.parameters
    ]


def _json(value: Any) -> str:
    return "" if value is msgspec.UNSET else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def example(type_: Type, service: ServiceContract, depth: int = 0) -> Any:  # noqa: PLR0911 - one for each kind
    """A value of that type, as plain data."""
    match type_.kind:
        case "enum":
            return type_.values[0] if type_.values else None
        case "list" | "set" | "stream":
            return [example(type_.parts[0], service, depth)] if type_.parts and depth < _DEEPEST else []
        case "tuple":
            return [example(part, service, depth) for part in type_.parts]
        case "union":
            parts = [part for part in type_.parts if part.kind != "none"]
            return example(parts[0], service, depth) if parts else None
        case "ref":
            structure = service.types.get(type_.name)
            if structure is None or depth >= _DEEPEST:
                return {}
            values = {each.name: example(each.type, service, depth + 1) for each in structure.fields if each.required}
            if structure.tag is not None:
                values = {structure.tag[0]: structure.tag[1], **values}
            return list(values.values()) if structure.record else values
        case kind:
            return _EXAMPLES.get(kind)


def read_arguments(method: Method, given: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """The arguments of a call, by name.

    Raises:
        LocalError: INVALID_ARGUMENT, with every problem.
    """
    known = {parameter.name: parameter for parameter in method.parameters}
    problems = [f"no parameter {name!r}{did_you_mean(name, known)}" for name in given if name not in known]
    problems += [f"{name} is missing" for name, each in known.items() if each.required and name not in given]
    found: dict[str, Any] = {}
    for name, raw in given.items():
        parameter = known.get(name)
        if parameter is None:
            continue
        try:
            if parameter.stream:
                found[name] = msgspec.json.decode(raw, type=list[Any])
            else:
                found[name] = JSON.decoder(parameter.type)(bytes(raw))
        except (DecodeError, msgspec.MsgspecError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise LocalError(Code.INVALID_ARGUMENT, "\n".join(problems))
    return found


def command_line(service: str, method: str, given: Mapping[str, msgspec.Raw]) -> str:
    """The same call as a line for a terminal."""
    words = [f"{name}={bytes(raw).decode()}" for name, raw in given.items()]
    return shlex.join(["meshcore", "call", f"{service}.{method}", *words])
