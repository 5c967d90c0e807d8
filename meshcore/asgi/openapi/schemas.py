"""JSON schemas (draft 2020-12) of types. Named types stand in the `components` of the document."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import msgspec

from meshcore.codec.pydantic_models import is_model, model_schemas
from meshcore.declare.docstring import parse_docstring

Schema: TypeAlias = dict[str, Any]

REFERENCE = "#/components/schemas/"
_DECIMAL = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_UNUSUAL = re.compile(r"[^\w.-]", re.ASCII)  # what OpenAPI does not allow in a name


def schemas_of(inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[list[Schema], list[Schema], dict[str, Schema]]:
    """The schemas of types that are read and of types that are written, in their order, and those with a name.

    A pydantic model may be read in one form and written in another (computed fields, defaults). What has two forms has
    the name of its class for the one, and that with "Output" for the other.
    """
    read, readable = _collect(inputs, "validation")
    written, writable = _collect(outputs, "serialization")
    different = {name for name in writable if name in readable and writable[name] != readable[name]}
    while more := {
        name for name in writable.keys() - different if name in readable and _references(writable[name]) & different
    }:
        different |= more
    names = {name: f"{name}Output" for name in different}
    written = [_renamed(schema, names) for schema in written]
    named = readable | {names.get(name, name): _renamed(schema, names) for name, schema in writable.items()}
    return read, written, {name: _documented(named[name]) for name in sorted(named)}


def without_null(schema: Schema) -> Schema:
    """The same schema without null, for places that cannot express null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if not choices or len(choices) == len(schema["anyOf"]):
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**choices[0], **rest} if len(choices) == 1 else {**rest, "anyOf": choices}


def _collect(
    types: Sequence[Any], mode: Literal["validation", "serialization"]
) -> tuple[list[Schema], dict[str, Schema]]:
    models: dict[type, Schema] = {}

    def reference(type_: type) -> Schema:
        any_value = {"title": type_.__name__}  # nothing at all would be an error
        return models.setdefault(type_, any_value) if is_model(type_) else any_value

    def all_of_them() -> tuple[tuple[Schema, ...], dict[str, Schema]]:
        return msgspec.json.schema_components(types, schema_hook=reference, ref_template=REFERENCE + "{name}")

    _, plain = all_of_them()  # once to find the models
    found, named = model_schemas(list(models), mode, REFERENCE + "{model}")
    names = {name: _free(name, plain) for name in named}
    models.update({model: _renamed(schema, names) for model, schema in zip(models, found, strict=True)})
    schemas, plain = all_of_them()
    plain = plain | {names[name]: _renamed(schema, names) for name, schema in named.items()}
    usual = {name: _UNUSUAL.sub("_", name) for name in plain}
    return (
        [_renamed(schema, usual) for schema in schemas],
        {usual[name]: _renamed(schema, usual) for name, schema in plain.items()},
    )


def _free(name: str, taken: Mapping[str, Schema]) -> str:
    return f"{name}Model" if name in taken else name


def _references(part: Any) -> set[str]:
    """The names that a schema refers to."""
    if isinstance(part, dict):
        members = cast("Schema", part)
        found = {cast("str", members["$ref"]).removeprefix(REFERENCE)} if "$ref" in members else set[str]()
        return found.union(*map(_references, members.values()))
    if isinstance(part, list):
        items = cast("Sequence[Any]", part)
        return set[str]().union(*map(_references, items))
    return set()


def _renamed(part: Any, names: Mapping[str, str]) -> Any:
    """A schema that refers to other names."""
    if isinstance(part, dict):
        changed = {key: _renamed(value, names) for key, value in cast("Schema", part).items()}
        if isinstance(name := changed.get("$ref"), str):
            short = name.removeprefix(REFERENCE)
            changed["$ref"] = REFERENCE + names.get(short, short)
        elif changed.get("format") == "decimal":
            changed = {"pattern": _DECIMAL, "examples": ["1.50"], **changed}  # no tool knows the format
        return changed
    if isinstance(part, list):
        items = cast("Sequence[Any]", part)
        return [_renamed(item, names) for item in items]
    return part


def _documented(schema: Schema) -> Schema:
    """Describe each attribute with the text of the class's docstring."""
    text = schema.get("description")
    if not text:
        return schema
    doc = parse_docstring(text)
    properties = {
        name: {"description": doc.parameters[name], **inner} if name in doc.parameters else inner
        for name, inner in schema.get("properties", {}).items()
    }
    prose = "\n\n".join(filter(None, (doc.summary, doc.description)))
    changed = {**schema, "description": prose} if prose else {k: v for k, v in schema.items() if k != "description"}
    return {**changed, "properties": properties} if properties else changed
