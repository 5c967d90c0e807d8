"""Reads the contract types of pydantic models from their JSON Schema. Also the helpers that other types share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from meshcore.contract.contract import Field, Structure, Type
from meshcore.contract.pydantic_schema import exact_schema

if TYPE_CHECKING:
    from pydantic import BaseModel

_NONE = Type("none")


class Structures:
    """The structures of a service.

    Attributes:
        types: by name. If two classes have the same name, the second one is called `Name#2`.
    """

    def __init__(self) -> None:
        self._names: dict[object, str] = {}
        self.types: dict[str, Structure] = {}

    def named(self, key: object, wanted: str) -> tuple[str, bool]:
        """Return the name of a structure, and whether it was known. If not, the caller adds it to `types`."""
        if key in self._names:
            return self._names[key], True
        name, number = wanted, 1
        while name in self.types or name in self._names.values():
            number += 1
            name = f"{wanted}#{number}"
        self._names[key] = name
        return name, False


class ModelReader:
    """Reads one model, by the schema of its input."""

    def __init__(self, cls: type[BaseModel], structures: Structures) -> None:
        self._name = cls.__name__
        self._structures = structures
        self._schema: dict[str, Any] = exact_schema(cls)
        self._definitions: dict[str, Any] = {self._name: self._schema, **self._schema.get("$defs", {})}

    def read(self) -> Type:
        """Return the type of the model."""
        return self._type(self._schema)

    def _type(self, schema: dict[str, Any]) -> Type:  # noqa: PLR0911 - one for each form
        match schema:
            case {"$ref": str(name)}:
                return self._type({"title": name, **self._definitions[name]})
            case {"allOf": [single]}:
                return self._type(single)
            case {"anyOf": members} | {"oneOf": members}:
                return union_of(map(self._type, members))
            case {"const": value}:
                return enum_of([value])
            case {"enum": values}:
                return enum_of(values, schema.get("title", ""))
            case {"type": "array"}:
                return self._array(schema)
            case {"type": "object"}:
                return self._object(schema)
            case _:
                kind = _FORMATS.get(schema.get("format", "")) or _KINDS.get(schema.get("type", ""), "any")
                return Type(kind, limits=_limits(schema))

    def _array(self, schema: dict[str, Any]) -> Type:
        if "prefixItems" in schema:
            return Type("tuple", parts=tuple(map(self._type, schema["prefixItems"])))
        part = self._type(schema.get("items", {}))
        return Type("set" if schema.get("uniqueItems") else "list", parts=(part,), limits=_limits(schema))

    def _object(self, schema: dict[str, Any]) -> Type:
        more: bool | dict[str, Any] = schema.get("additionalProperties", {})
        properties: dict[str, dict[str, Any]] | None = schema.get("properties")
        if properties is None:
            keys = self._type(schema.get("propertyNames", {"type": "string"}))
            parts = keys, self._type(more) if isinstance(more, dict) else Type("any")
            return Type("map", parts=parts, limits=_limits(schema))
        title = str(schema.get("title") or self._name)
        # A model that several others contain has a definition in the schema of each.
        name, known = self._structures.named((title, msgspec.json.encode(properties)), title)
        if not known:
            required: list[str] = schema.get("required", [])
            fields = tuple(
                Field(
                    key,
                    self._type(value),
                    key in required,
                    omitted=bool(value.get("omitted")),
                    default=UNSET if key in required else value.get("default", UNSET),
                )
                for key, value in properties.items()
            )
            self._structures.types[name] = Structure(fields, closed=more is False)
        return Type("ref", name=name)


_FORMATS = {
    "uuid": "uuid",
    "date-time": "datetime",
    "date": "date",
    "time": "time",
    "duration": "timedelta",
    "binary": "bytes",
    "decimal": "decimal",
}
_ANY_TEXT = frozenset({"password", "path"})
"""Formats that any text has."""

_KINDS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "none"}
_SCHEMA_LIMITS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "pattern": "pattern",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "minProperties": "min_length",
    "maxProperties": "max_length",
    "maxDigits": "max_digits",
    "decimalPlaces": "decimal_places",
    "tz": "tz",
    "relation": "relation",
}


def union_of(members: Iterable[Type]) -> Type:
    """Make a union. Nested unions are flattened, and None comes last."""
    flat = [part for member in members for part in (member.parts if member.kind == "union" else (member,))]
    ordered = [*(part for part in flat if part != _NONE), *([_NONE] if _NONE in flat else [])]
    return ordered[0] if len(ordered) == 1 else Type("union", parts=tuple(ordered))


def enum_of(values: Iterable[Any], name: str = "") -> Type:
    """Make an enum with sorted values. None among them becomes a member of a union."""
    found = list(values)
    some = sorted((value for value in found if value is not None), key=lambda value: (isinstance(value, str), value))
    members = [Type("enum", name=name, values=tuple(some))] if some else []
    return union_of([*members, *([_NONE] if None in found else [])])


def _limits(schema: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: schema[key] for key, name in _SCHEMA_LIMITS.items() if key in schema}
    text = schema.get("format")
    return found if text is None or text in _FORMATS or text in _ANY_TEXT else {**found, "format": text}
