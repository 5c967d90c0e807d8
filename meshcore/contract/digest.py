"""The digest of a service's contract: the same if no caller can notice a difference."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UnsetType

from meshcore.contract.contract import (
    USUAL_STATUS,
    Field,
    MethodContract,
    ParameterContract,
    ServiceContract,
    Structure,
    Type,
    constants,
    kind_in_union,
)

_DIGEST = 8
"""Hexadecimal digits. Two versions of a service have the same by chance once in four billion."""


def digest_of(service: ServiceContract) -> str:
    """A short hash of what callers can notice: texts and the names of classes do not count."""
    essence = _Essence(service.types)
    methods = [essence.method(method) for method in sorted(service.methods, key=lambda method: method.name)]
    return hashlib.sha256(msgspec.json.encode(methods)).hexdigest()[:_DIGEST]


class _Essence:
    """Contracts without what does not matter: order where it means nothing, names of classes, texts."""

    def __init__(self, types: Mapping[str, Structure]) -> None:
        self._types = types
        self._numbers: dict[str, int] = {}

    def method(self, method: MethodContract) -> list[Any]:
        raises = sorted(method.raises, key=lambda fault: fault.name)
        return [
            method.name,
            [[each.name, each.given, each.source, self.slot(each)] for each in method.parameters],
            self.type(method.returns),
            [[fault.name, fault.code, [[each.name, self.slot(each)] for each in fault.fields]] for fault in raises],
            method.repeat,
            method.http,
            *([] if method.status == USUAL_STATUS else [method.status]),
        ]

    def slot(self, slot: ParameterContract | Field) -> list[Any]:
        default = [] if isinstance(slot.default, UnsetType) else [slot.default]
        return [self.type(slot.type), slot.required, getattr(slot, "omitted", False), default]

    def type(self, type_: Type) -> list[Any]:
        if type_.kind == "ref":
            return self.structure(type_.name)
        parts = list(type_.parts)
        if type_.kind == "union":
            parts.sort(key=self._order)
        values = sorted(msgspec.json.encode(value).decode() for value in type_.values)
        return [type_.kind, [self.type(part) for part in parts], values, sorted(type_.limits.items())]

    def _order(self, part: Type) -> list[Any]:
        """Where a member of a union stands: several of one kind are told apart by what is in them, one level deep."""
        fields = self._types[part.name].fields if part.kind == "ref" else ()
        tags = [(name, sorted(map(repr, values))) for name, values in constants(part, self._types).items()]
        told = [sorted(map(repr, part.values)), sorted(map(repr, part.limits.items()))]
        parts = [self._order(each) for each in part.parts]
        return [*kind_in_union(part, self._types), sorted(field.name for field in fields), sorted(tags), told, parts]

    def structure(self, name: str) -> list[Any]:
        """A number for what was there before: types may contain themselves."""
        if name in self._numbers:
            return ["ref", self._numbers[name]]
        self._numbers[name] = len(self._numbers)
        found = self._types[name]
        fields = found.fields if found.record else sorted(found.fields, key=lambda field: field.name)
        return [found.record, found.closed, found.tag, [[field.name, self.slot(field)] for field in fields]]
