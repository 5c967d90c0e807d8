"""Finds pydantic unions whose reading takes a time that grows by a factor with each level of a value.

Pydantic reads a value as each member of a union that has no discriminator. If two members contain the union again, it
reads the next level twice, the one after that four times: a body of 1 KB with 30 levels takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

_Schema = Mapping[str, Any]

_INNER = (
    "schema",
    "fields",
    "choices",
    "items_schema",
    "keys_schema",
    "values_schema",
    "extras_schema",
    "steps_schema",
)
_MEND = 'give it a discriminator, such as Field(discriminator="kind")'
# What a JSON value has to be to be read as a member. A member of another kind ends at once.
_KINDS = {
    **dict.fromkeys(("model", "model-fields", "dataclass", "dataclass-args", "typed-dict", "dict"), "object"),
    **dict.fromkeys(("list", "tuple", "set", "frozenset", "generator"), "array"),
}


def why_slow(schema: _Schema, place: str) -> str | None:
    """Why a value of a model may take too long to be read, None if it cannot.

    Args:
        schema: the core schema of the model.
        place: the name of the model.
    """
    definitions = {part["ref"]: part for part in _all(schema) if "ref" in part}
    for owner, name, union in _unions(schema, place, ""):
        again = [_kind(choice, definitions) for choice in _choices(union) if _contains(choice, union, definitions)]
        if any(kind is not None and again.count(kind) > 1 for kind in again):
            where = f"{owner}.{name}" if name else owner
            return f"{where} is a union that two of its members contain, which takes too long to read: {_MEND}"
    return None


def _contains(schema: _Schema, union: _Schema, definitions: Mapping[str, _Schema]) -> bool:
    """Whether a schema contains this union, at any depth."""
    left, seen = [schema], set[int]()
    while left:
        part = left.pop()
        if part is union:
            return True
        if id(part) not in seen:
            seen.add(id(part))
            left += _parts(part)
            if part.get("type") == "definition-ref" and (found := definitions.get(part["schema_ref"])) is not None:
                left.append(found)
    return False


def _kind(schema: _Schema, definitions: Mapping[str, _Schema]) -> str | None:
    """The kind of JSON value that is read as this, None for plain ones."""
    for _ in range(100):  # wrappers are nested less deep
        if schema.get("type") == "definition-ref":
            schema = definitions.get(schema["schema_ref"], {})
        elif (kind := _KINDS.get(schema.get("type", ""))) is not None:
            return kind
        elif isinstance(inner := schema.get("schema"), Mapping):
            schema = cast("_Schema", inner)
        else:
            break
    return None


def _choices(union: _Schema) -> Iterator[_Schema]:
    for choice in union["choices"]:
        yield choice[0] if isinstance(choice, tuple) else choice


def _unions(schema: _Schema, owner: str, name: str) -> Iterator[tuple[str, str, _Schema]]:
    """The unions without a discriminator, each with the class and the field that it is in."""
    if schema.get("type") == "union":
        yield owner, name, schema
    cls = schema.get("cls")
    if cls is not None:
        owner, name = getattr(cls, "__name__", owner), ""
    if schema.get("type") in {"model-fields", "typed-dict"}:
        for field, part in cast("dict[str, _Schema]", schema.get("fields", {})).items():
            yield from _unions(part, owner, field)
        return
    for part in _parts(schema):
        yield from _unions(part, owner, cast("str", part.get("name", name)))


def _all(schema: _Schema) -> Iterator[_Schema]:
    yield schema
    for part in _parts(schema):
        yield from _all(part)


def _parts(schema: _Schema) -> Iterator[_Schema]:
    """The schemas right inside a schema."""
    for key in (*_INNER, "definitions"):
        found: Any = schema.get(key)
        if isinstance(found, Mapping):
            inner = cast("_Schema", found)
            each: Any = [inner] if isinstance(inner.get("type"), str) else inner.values()
        else:
            each = found or ()
        for labelled in each:
            part: Any = cast("Any", labelled)[0] if isinstance(labelled, tuple) else labelled
            if isinstance(part, Mapping):  # a dataclass has the names of its fields here
                yield cast("_Schema", part)
