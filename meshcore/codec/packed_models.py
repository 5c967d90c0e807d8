"""Packs pydantic models as msgpack, and unpacks them. msgpack has NaN and infinity, so these arrive.

`ormsgpack` packs a plain model three times as fast as pydantic and msgspec together. It reads only the attributes: it
ignores aliases, serializers, excluded and computed fields, and it writes the fields that a subclass adds. So it is used
only where the core schema of the model proves that pydantic would write the same, and while no class of a model inside
has a subclass. Any other model becomes plain values first, as for JSON.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, cast

import msgspec
import ormsgpack

from meshcore.codec.aliases import convert, is_recursive
from meshcore.codec.pydantic_models import dump_plain, has_any, is_model, load

if TYPE_CHECKING:
    from pydantic import BaseModel

# A float64 whose exponent bits are all ones. Other data may look the same.
NON_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_OPTION = ormsgpack.OPT_SERIALIZE_PYDANTIC
_CACHED = 1024
_MOST_CLASSES = 8  # to ask each for its subclasses takes 0.1 us

# Core schemas whose values both write in the same way. Validators run when a value is read.
_PLAIN = frozenset(
    {"int", "float", "bool", "str", "none", "uuid", "date", "literal", "nullable", "default", "list", "tuple", "dict"}
    | {"union", "model", "model-fields", "model-field", "definitions", "definition-ref"}
    | {"function-before", "function-after", "function-wrap"}
)
_INNER = ("schema", "items_schema", "keys_schema", "values_schema", "fields", "choices", "definitions")


def pack_hook(value: Any) -> Any:
    """Msgspec's hook for values that it does not know: packs a model.

    Raises:
        TypeError: The value is no model.
        ValueError: A NaN or an infinity would be lost.
    """
    model = cast("Any", type(value))
    classes = classes_of_plain(model)
    if classes is not None and not any(each.__subclasses__() for each in classes):
        try:
            return msgspec.Raw(ormsgpack.packb(value, option=_OPTION))
        except (TypeError, ValueError):  # a value that does not fit its field, of which pydantic says more
            pass
    plain = dump_plain(value)
    if _may_lose_floats(model):
        _refuse_lost_floats(value, plain)
    return plain


def unpack_hook(type_: type, value: Any) -> Any:
    """Msgspec's hook for types that it does not know: makes a model of unpacked plain values.

    Raises:
        ModelError: The model refuses them.
        TypeError: The type is no model.
    """
    if is_recursive(type_):
        return convert(type_, value, unpack_hook, str_keys=False)
    if not is_model(type_):
        raise TypeError(f"{type_.__qualname__} cannot travel")
    data = msgspec.json.encode(value)
    if data.rfind(b"null") >= 0 and NON_FINITE.search(msgspec.msgpack.encode(value)):
        # JSON has no NaN, but pydantic's writer and reader have.
        core = importlib.import_module("pydantic_core")
        data = core.to_json(value, inf_nan_mode="constants", bytes_mode="base64")
    return load(type_, data)


@lru_cache(_CACHED)
def classes_of_plain(model: type[BaseModel]) -> tuple[type, ...] | None:
    """The classes of the models inside a plain model, None if it is not plain or no model. Plain ones have no times."""
    if not is_model(model):
        return None
    found: list[type] = []
    recursive = False
    for schema in _schemas(cast("Any", model).__pydantic_core_schema__):
        kind = schema["type"]
        if kind not in _PLAIN or "serialization" in schema or not _is_written_as_it_is(schema):
            return None
        recursive |= kind == "definition-ref"
        if kind == "model":
            found.append(schema["cls"])
    inside = tuple({each for each in found if recursive or each is not model})
    return inside if len(inside) <= _MOST_CLASSES else None


def _is_written_as_it_is(schema: Mapping[str, Any]) -> bool:
    match schema["type"]:
        case "model":
            return _has_only_fields(schema["cls"], schema.get("config", {})) and not schema.get("root_model")
        case "model-fields":
            return not schema.get("computed_fields") and "extras_schema" not in schema
        case "model-field":
            return not any(key.startswith("serialization") for key in schema)
        case "dict":
            return schema.get("keys_schema", {}).get("type") == "str" and "values_schema" in schema
        case "literal":
            return all(type(value) in {str, int, bool, type(None)} for value in schema["expected"])
        case kind:
            return kind not in {"list", "tuple"} or "items_schema" in schema


def _has_only_fields(model: type, config: Mapping[str, Any]) -> bool:
    if config.get("extra_fields_behavior") == "allow" or any(key.startswith("ser_") for key in config):
        return False
    return not any(isinstance(member, cached_property) for base in model.__mro__ for member in vars(base).values())


def _schemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A core schema and those inside it."""
    yield schema
    for key in _INNER:
        parts = cast("Any", schema.get(key) or ())
        if hasattr(parts, "values"):  # a schema, or several by name
            parts = [parts] if isinstance(parts.get("type"), str) else parts.values()
        for part in parts:
            labelled = isinstance(part, tuple)  # a choice of a union
            yield from _schemas(cast("Any", part)[0] if labelled else part)


@lru_cache(_CACHED)
def _may_lose_floats(model: type) -> bool:
    """Whether a part of a model may be anything, so that pydantic writes a NaN in a model inside of that as None."""
    return is_model(model) and has_any(cast("Any", model).__pydantic_core_schema__)


def _refuse_lost_floats(value: BaseModel, plain: Any) -> None:
    if _non_finite(plain) < _non_finite(value.model_dump(by_alias=True, warnings=False)):
        raise ValueError("a NaN or an infinity in a model inside of Any would be written as null")


def _non_finite(value: Any) -> int:
    """The number of NaNs and infinities."""
    if isinstance(value, float):
        return int(not math.isfinite(value))
    if isinstance(value, dict):
        return sum(map(_non_finite, cast("Any", value).values()))
    if isinstance(value, list | tuple | set | frozenset):
        return sum(map(_non_finite, cast("Any", value)))
    return 0
