"""The digest of a service's contract. Two versions have the same digest if callers cannot notice a difference."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UnsetType

from meshcore.contract.contract import (
    DEFAULT_STATUS,
    Field,
    MethodContract,
    ParameterContract,
    ServiceContract,
    Structure,
    Type,
    constants,
    union_key,
)

_DIGITS = 8
"""Hexadecimal digits. A collision has a chance of one in four billion."""


def digest_of(service: ServiceContract) -> str:
    """Return a short hash of what callers can notice. Descriptions and names of classes do not count."""
    canonical = _Canonical(service.types)
    methods = [canonical.method(method) for method in sorted(service.methods, key=lambda method: method.name)]
    return hashlib.sha256(msgspec.json.encode(methods)).hexdigest()[:_DIGITS]


class _Canonical:
    """Reduces contracts to what callers can notice: no names of classes, no descriptions, no order without meaning."""

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
            *([] if method.status == DEFAULT_STATUS else [method.status]),
            *([method.resume] if method.resume else []),
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
        """Return the sort key of a member of a union: its kind, and one level of its content if there are several."""
        fields = self._types[part.name].fields if part.kind == "ref" else ()
        tags = [(name, sorted(map(repr, values))) for name, values in constants(part, self._types).items()]
        content = [sorted(map(repr, part.values)), sorted(map(repr, part.limits.items()))]
        parts = [self._order(each) for each in part.parts]
        return [*union_key(part, self._types), sorted(field.name for field in fields), sorted(tags), content, parts]

    def structure(self, name: str) -> list[Any]:
        """Return the content of a structure, or its number if it has occurred before: types may contain themselves."""
        if name in self._numbers:
            return ["ref", self._numbers[name]]
        self._numbers[name] = len(self._numbers)
        found = self._types[name]
        fields = found.fields if found.record else sorted(found.fields, key=lambda field: field.name)
        return [found.record, found.closed, found.tag, [[field.name, self.slot(field)] for field in fields]]
