"""Values that fit a part of a pydantic model, a few for each kind, chosen so that look-alikes are found."""

from __future__ import annotations

import datetime as dt
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, TypeAlias, cast
from uuid import UUID, uuid5

import msgspec

Schema: TypeAlias = Any
"""A core schema of pydantic: a mapping."""

_DEEPEST = 8  # levels of models and containers
_RECURSION = 4  # levels that count for a part that contains itself
_MOST = 12  # values for one part
_NOON = dt.datetime(2024, 1, 2, 12, 0, 0, 5, tzinfo=dt.UTC)
_UUIDS = {None: UUID(int=5), 4: UUID("12345678-1234-4678-9234-567812345678"), 5: uuid5(UUID(int=1), "a")}
# Texts that look like values of other types: of use where a union has to tell them apart.
_LOOKALIKES = ("1", "2024-01-02", "00000000-0000-0000-0000-000000000005", "2024-01-02T12:00:00Z", "PT1S", "http://a/")

_FIXED: Mapping[str, tuple[Any, ...]] = {
    "any": ("a",),
    "none": (None,),
    "bool": (False, True),
    "bytes": (b"abcd", b"", b"hello world!"),  # text, since others are refused when they are written
    "date": (_NOON.date(),),
    "time": (_NOON.time(),),
    "timedelta": (dt.timedelta(days=1, microseconds=5), dt.timedelta(0)),
    "decimal": (Decimal("1.50"), Decimal(0)),
    "url": ("http://a.example/b",),
    "multi-host-url": ("http://a.example/b",),
}
_CONTAINERS: Mapping[str, Callable[[Iterable[Any]], Any]] = {"list": list, "set": set, "frozenset": frozenset}
# Kinds of schemas around another one, and the key of that.
_AROUND = {
    "nullable": "schema",
    "default": "schema",
    "definitions": "schema",
    "model-field": "schema",
    "function-before": "schema",
    "function-after": "schema",
    "function-wrap": "schema",
    "lax-or-strict": "strict_schema",
    "json-or-python": "python_schema",
}


class Samples:
    """Makes values for the parts of one core schema."""

    def __init__(self, schema: Schema) -> None:
        """Remember the definitions that parts refer to."""
        self._compound: dict[str, Callable[[Schema, int], Iterable[Any]]] = {
            "definition-ref": self._reference,
            "chain": self._chain,
            "json": self._json,
            "union": self._choices,
            "tagged-union": self._choices,
            "list": self._items,
            "set": self._items,
            "frozenset": self._items,
            "tuple": self._tuple,
            "dict": self._dict,
            "model": self._model,
            "dataclass": self._dataclass,
            "typed-dict": self._typed_dict,
        }
        self._found: dict[tuple[int, int], list[Any]] = {}
        self._definitions = {each["ref"]: each for each in _models(schema) if "ref" in each}

    def of(self, schema: Schema, depth: int = 0) -> list[Any]:
        """Some values, none if it is not known what fits. They may not fit either: validators have the last word."""
        if depth > _DEEPEST:
            return []
        key = id(schema), depth
        if key not in self._found:
            self._found[key] = list(itertools.islice(self._of(schema, depth), _MOST))
        return self._found[key]

    def fields(self, model: Schema) -> dict[str, Schema]:
        """The fields of a model that are written, by name."""
        inner: Schema = model["schema"]
        while inner["type"] in _AROUND:
            inner = inner[_AROUND[inner["type"]]]
        if inner["type"] != "model-fields":  # a root model
            return {"root": model["schema"]}
        return {name: field for name, field in inner["fields"].items() if not field.get("serialization_exclude")}

    def model(self, schema: Schema, depth: int = 0) -> Iterator[dict[str, Any]]:
        """The arguments of a model: first the fewest, then all."""
        for everything in (False, True):
            chosen: dict[str, Any] = {}
            for name, field in self.fields(schema).items():
                inner = field.get("schema", field)
                if (everything or inner["type"] != "default") and (found := self.of(inner, depth + 1)):
                    chosen[name] = found[-1 if everything else 0]
            yield chosen

    def _of(self, schema: Schema, depth: int) -> Iterator[Any]:
        kind: str = schema["type"]
        if kind in _FIXED:
            yield from _FIXED[kind]
        elif kind in _SCALARS:
            yield from _SCALARS[kind](schema)
        elif kind in _AROUND:
            yield from (None,) if kind == "nullable" else ()
            yield from self.of(schema[_AROUND[kind]], depth)
        elif kind in self._compound:
            yield from self._compound[kind](schema, depth)

    def _reference(self, schema: Schema, depth: int) -> Iterator[Any]:
        found = self._definitions.get(schema["schema_ref"])
        yield from () if found is None else self.of(found, depth + _RECURSION)

    def _chain(self, schema: Schema, depth: int) -> Iterator[Any]:
        yield from self.of(schema["steps"][0], depth)

    def _json(self, schema: Schema, depth: int) -> Iterator[str]:
        inner = self.of(schema["schema"], depth + 1) if "schema" in schema else ["a"]
        yield from (msgspec.json.encode(value).decode() for value in inner)

    def _choices(self, schema: Schema, depth: int) -> Iterator[Any]:
        choices: Any = schema["choices"]
        listed: list[Any] = list(choices.values()) if hasattr(choices, "values") else choices
        parts: list[Schema] = [cast("Any", each)[0] if isinstance(each, tuple) else each for each in listed]
        columns = [(*self.of(part, depth), *(_LOOKALIKES if part["type"] == "str" else ())) for part in parts]
        for row in itertools.zip_longest(*columns, fillvalue=...):  # in turn, so that each has one among the first
            yield from (value for value in row if value is not ...)

    def _dict(self, schema: Schema, depth: int) -> Iterator[Any]:
        keys = self.of(schema["keys_schema"], depth + 1) if "keys_schema" in schema else ["a"]
        values = self.of(schema["values_schema"], depth + 1) if "values_schema" in schema else ["a"]
        keys = [key for key in keys if _is_hashable(key)]
        yield {}
        yield from ({key: values[0]} for key in keys if values)
        yield from ({key: value} for value in values[1:] for key in keys[:1])

    def _tuple(self, schema: Schema, depth: int) -> Iterator[Any]:
        if "variadic_item_index" in schema:
            yield ()
            yield from ((value,) for value in self.of(schema["items_schema"][0], depth + 1))
            return
        columns = [self.of(part, depth + 1) for part in schema["items_schema"]]
        if all(columns):
            longest = max(map(len, columns), default=1)
            yield from (tuple(column[min(row, len(column) - 1)] for column in columns) for row in range(longest))

    def _items(self, schema: Schema, depth: int) -> Iterator[Any]:
        make = _CONTAINERS[schema["type"]]
        items = self.of(schema.get("items_schema", {"type": "str"}), depth + 1)
        yield make(())
        yield from (
            make([value] * max(schema.get("min_length", 1), 1))
            for value in items
            if make is list or _is_hashable(value)
        )

    def _typed_dict(self, schema: Schema, depth: int) -> Iterator[Any]:
        found = {name: self.of(field["schema"], depth + 1) for name, field in schema["fields"].items()}
        yield {name: values[0] for name, values in found.items() if values}

    def _model(self, schema: Schema, depth: int) -> Iterator[Any]:
        for chosen in self.model(schema, depth):
            with suppress(Exception):  # a validator of the user's refuses it
                yield schema["cls"].__pydantic_validator__.validate_python(chosen, by_alias=False, by_name=True)

    def _dataclass(self, schema: Schema, depth: int) -> Iterator[Any]:
        arguments = [field for field in schema["schema"].get("fields", ()) if field.get("init", True)]
        found = {each["name"]: self.of(each["schema"], depth + 1) for each in arguments}
        with suppress(Exception):  # as above
            yield _adapter(schema["cls"]).validate_python({name: values[0] for name, values in found.items() if values})


def _models(schema: Schema) -> Iterator[Schema]:
    """The parts of a core schema that others may refer to."""
    yield schema
    yield from schema.get("definitions", ())
    if schema["type"] in _AROUND and hasattr(schema.get("schema"), "keys"):
        yield from _models(schema["schema"])


@lru_cache(1024)
def _adapter(cls: type) -> Any:
    return sys.modules["pydantic"].TypeAdapter(cls)


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _numbers(schema: Schema) -> Iterator[Any]:
    step = schema.get("multiple_of", 1)
    least = schema.get("ge", schema.get("gt"))
    most = schema.get("le", schema.get("lt"))
    number = float if schema["type"] == "float" else int
    if least is not None:
        yield from (number(least), number(least + step))
    if most is not None:
        yield from (number(most), number(most - step))
    yield from (number(0), number(step), number(-7 * step))
    if number is float:
        yield 1.5


def _texts(schema: Schema) -> Iterator[str]:
    least: int = schema.get("min_length", 0)
    yield from ("a".ljust(least, "a"), "".ljust(least, "b"))


def _datetimes(schema: Schema) -> Iterator[dt.datetime]:
    yield _NOON if schema.get("tz_constraint") != "naive" else _NOON.replace(tzinfo=None)
    yield _NOON.replace(tzinfo=None)
    yield _NOON.replace(hour=0, microsecond=0, tzinfo=None)  # looks like a date


def _members(schema: Schema) -> Iterator[Enum]:
    yield from schema["members"]


_SCALARS: Mapping[str, Callable[[Schema], Iterable[Any]]] = {
    "int": _numbers,
    "float": _numbers,
    "str": _texts,
    "datetime": _datetimes,
    "enum": _members,
    "literal": lambda schema: schema["expected"],
    "uuid": lambda schema: [_UUIDS.get(schema.get("version"), UUID(int=5))],
}
