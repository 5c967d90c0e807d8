"""The JSON Schema of a pydantic model, with more facts than pydantic's own schema.

It adds keywords that JSON Schema does not have: the format `decimal`, `maxDigits` and `decimalPlaces`; `tz` (whether a
datetime has a time zone) and `relation` (past, future); bounds of values that are written as text; and `omitted`, for
fields that may be left out.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pydantic import BaseModel

_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "max_digits": "maxDigits",
    "decimal_places": "decimalPlaces",
    "now_op": "relation",
    "tz_constraint": "tz",
}


def exact_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of the input of a model. References are the names of definitions."""
    return model.model_json_schema(ref_template="{model}", schema_generator=_generator())


@cache
def _generator() -> Any:
    base = importlib.import_module("pydantic.json_schema").GenerateJsonSchema
    # Those warnings concern defaults without a JSON form. Defaults do not travel.
    members = {"ignored_warning_kinds": {*base.ignored_warning_kinds, "non-serializable-default"}}
    return type("ExactSchema", (_Exact, base), members)


class _Exact:
    """Overrides methods of pydantic's generator, which finds them by name."""

    def decimal_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": "string", "format": "decimal", **_bounds(schema)}

    def date_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        return {**cast("Any", super()).date_schema(schema), **_bounds(schema)}

    def time_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        return {**cast("Any", super()).time_schema(schema), **_bounds(schema)}

    def datetime_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        return {**cast("Any", super()).datetime_schema(schema), **_bounds(schema)}

    def timedelta_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        return {**cast("Any", super()).timedelta_schema(schema), **_bounds(schema)}

    def dict_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        generator = cast("Any", self)
        found: dict[str, Any] = {"type": "object"}
        for key, word in (("keys_schema", "propertyNames"), ("values_schema", "additionalProperties")):
            found[word] = generator.generate_inner(schema[key]) if key in schema else {}
        generator.update_with_validations(found, schema, generator.ValidationsMapping.object)
        return found

    def model_field_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        return _field(schema, cast("Any", super()).model_field_schema(schema))

    def dataclass_field_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        return _field(schema, cast("Any", super()).dataclass_field_schema(schema))


def _bounds(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {word: _plain(schema[key]) for key, word in _BOUNDS.items() if schema.get(key) is not None}


def _plain(value: Any) -> Any:
    """Return a bound as plain data."""
    if value in {"aware", "naive"}:
        return value == "aware"  # as in msgspec
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    return sys.modules["pydantic_core"].to_jsonable_python(value)


def _field(schema: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    omitted = schema.get("serialization_exclude") or schema.get("serialization_exclude_if") is not None
    return {**found, "omitted": True} if omitted else found
