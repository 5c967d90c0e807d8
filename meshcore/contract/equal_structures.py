"""Merges structures of a service that are the same: one class may be reached as itself and within a pydantic model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from meshcore.contract.contract import Field, MethodContract, Structure, Type


def merge_equal(
    methods: tuple[MethodContract, ...], types: Mapping[str, Structure]
) -> tuple[tuple[MethodContract, ...], dict[str, Structure]]:
    """Return methods and structures without structures that differ only in the number after their name.

    Structures may refer to each other, in circles as well. So all that have the same name are taken for the same at
    first. Those that differ are separated, until none differ any more.
    """
    if not any("#" in name for name in types):
        return methods, dict(types)
    names = {name: name.partition("#")[0] for name in types}
    while True:
        first: dict[tuple[str, bytes], str] = {}
        separated: dict[str, str] = {}
        for name, structure in types.items():
            content = msgspec.json.encode(_renamed(structure, names), order="deterministic")
            separated[name] = first.setdefault((names[name], content), name)
        if len(set(separated.values())) == len(set(names.values())):
            break
        names = separated
    merged = {name: _renamed(types[name], separated) for name in dict.fromkeys(separated.values())}
    return _renamed(methods, separated), merged


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case Type():
            name = names.get(value.name, value.name) if value.kind == "ref" else value.name
            return msgspec.structs.replace(value, name=name, parts=_renamed(value.parts, names))
        case Structure(fields=fields):
            return msgspec.structs.replace(value, fields=_renamed(fields, names))
        case Field(type=type_):
            return msgspec.structs.replace(value, type=_renamed(type_, names))
        case msgspec.Struct():
            with_types = {"parameters", "returns", "raises", "type", "fields"}.intersection(value.__struct_fields__)
            changes = {each: _renamed(getattr(value, each), names) for each in with_types}
            return msgspec.structs.replace(value, **changes)
        case tuple():
            several: tuple[Any, ...] = value  # pyright: ignore[reportUnknownVariableType]
            return tuple(_renamed(each, names) for each in several)
        case _:
            return value
