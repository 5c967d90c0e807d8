"""Encodes and decodes pydantic models. Pydantic (2.11 or newer) is optional: only models that the user imports need it.

msgspec passes values that it does not know to two hooks. Both use pydantic's JSON mode, for msgpack too: only in JSON
mode does a strict model accept a datetime as text, and the user's own types are written by their serializers. So
`bytes` of a model are text on the wire. For bytes that are no text, set `ser_json_bytes` and `val_json_bytes` to
"base64": that is pydantic's rule. For msgpack, see `packed_models`.

Fields are written under their aliases, as in a published schema. Aliases and field names are both accepted.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, cast

import msgspec

from meshcore.codec.aliases import convert, is_recursive
from meshcore.codec.errors import ModelError, sentence, steps
from meshcore.codec.flooding.key_hashes import LARGE
from meshcore.codec.flooding.model_keys import ModelReader
from meshcore.codec.model_unions import why_slow
from meshcore.codec.read_back.models import why_not_equal

if TYPE_CHECKING:
    from pydantic import BaseModel

_MOST_ERRORS = 1000


def is_model(type_: object) -> TypeGuard[type[BaseModel]]:
    """Whether this is a class of pydantic models."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(type_, type) and issubclass(type_, base)


def load(model: type[BaseModel], data: bytes) -> Any:
    """Decode JSON into a model, without building dicts first.

    Raises:
        ModelError: The model refuses it.
        FloodingError: The keys of a set or a dict in it collide.
        msgspec.DecodeError: It is not JSON.
    """
    try:
        if len(data) > LARGE:
            return _reader_of_large(model).validate_json(data)
        return model.__pydantic_validator__.validate_json(data, by_alias=True, by_name=True)
    except sys.modules["pydantic"].ValidationError as error:
        if (count := error.error_count()) > _MOST_ERRORS:  # to list them takes 2 us each
            raise ModelError("", f"{count} values do not fit") from error
        first, *others = error.errors(include_url=False, include_context=False, include_input=False)
        if first["type"] == "json_invalid":
            raise msgspec.DecodeError(first["msg"].removeprefix("Invalid JSON: ")) from error
        more = f" (and {len(others)} more)" if others else ""
        raise ModelError(steps(first["loc"]), sentence(first["msg"]) + more) from error


@cache
def _reader_of_large(model: type[BaseModel]) -> ModelReader:
    """Made for the first large body."""
    return ModelReader(model)


def dump(model: type[BaseModel], value: Any) -> bytes:
    """Encode a model as JSON, without building dicts first.

    A field whose value does not fit its type is an error here; pydantic only warns.

    Raises:
        TypeError: The value is no instance of the model.
    """
    if not isinstance(value, model):
        raise TypeError(f"expected {model.__name__}, got {type(value).__name__}")
    return value.__pydantic_serializer__.to_json(value, by_alias=True, warnings="error")


def dump_plain(value: Any) -> Any:
    """A model as plain values. NaN and infinity stay what they are.

    Raises:
        TypeError: The value is no model.
    """
    model = cast("object", type(value))
    if not is_model(model):
        raise TypeError(f"{type(value).__qualname__} cannot travel")
    return _plain_serializer(model).to_python(value, mode="json", by_alias=True, warnings="error")


@lru_cache(1024)
def _plain_serializer(model: type[BaseModel]) -> Any:
    """The serializer of a model. A model's own one writes None for a NaN in an `Any`, so such a model needs another."""
    schema = cast("Any", model).__pydantic_core_schema__
    if not has_any(schema) or model.model_config.get("ser_json_inf_nan") not in {None, "null"}:
        return model.__pydantic_serializer__
    core: Any = importlib.import_module("pydantic_core")
    return core.SchemaSerializer(schema, {**schema_config(schema), "ser_json_inf_nan": "constants"})


def has_any(schema: Mapping[str, Any]) -> bool:
    """Whether a part of a model may be anything."""
    untyped = schema.get("type") in _CONTAINERS and "items_schema" not in schema and "values_schema" not in schema
    extra = schema.get("config", {}).get("extra_fields_behavior") == "allow"
    return schema.get("type") == "any" or untyped or extra or any(has_any(part) for _, part in _parts(schema))


@lru_cache(1024)
def writes_constants(model: type[BaseModel]) -> bool:
    """Whether a model, or one inside it, writes NaN as `NaN`, which is not JSON."""
    return _has_constants(cast("Any", model).__pydantic_core_schema__)


def _has_constants(schema: Mapping[str, Any]) -> bool:
    here = schema.get("config", {}).get("ser_json_inf_nan") == "constants"
    return here or any(_has_constants(part) for _, part in _parts(schema))


def schema_config(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of the model that a core schema is of."""
    while "config" not in schema and _is_dict(inner := schema.get("schema")):
        schema = inner
    return cast("Mapping[str, Any]", schema.get("config", {}))


encode_hook = dump_plain
"""Msgspec's hook for values that it does not know, in JSON."""


def decode_hook(type_: type, value: Any) -> Any:
    """Msgspec's hook for types that it does not know: makes a model of decoded plain values.

    Raises:
        ModelError: The model refuses them.
        TypeError: The type is no model.
    """
    if is_model(type_):
        return load(type_, msgspec.json.encode(value))
    if is_recursive(type_):
        return convert(type_, value, decode_hook, str_keys=True)
    raise TypeError(f"{type_.__qualname__} cannot travel")


def model_schemas(
    models: Sequence[type[BaseModel]], mode: Literal["validation", "serialization"], template: str
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The JSON schemas of models: a reference for each model, and the definitions by name.

    Args:
        models: the models.
        mode: "validation" for the schema of what is read, "serialization" for that of what is written.
        template: of the references, with `{model}` in it.
    """
    if not models:
        return [], {}
    module: Any = importlib.import_module("pydantic.json_schema")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about defaults that have no JSON form
        references, schema = module.models_json_schema([(model, mode) for model in models], ref_template=template)
    return [references[model, mode] for model in models], schema.get("$defs", {})


def why_not_model(model: type[BaseModel]) -> str | None:
    """Why a model cannot be sent: a part has no JSON form, or cannot be read back as it is written."""
    judge = _why_not if getattr(model, "__pydantic_complete__", False) else _why_not.__wrapped__
    return judge(model)


@lru_cache(1024)
def _why_not(model: type[BaseModel]) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about defaults that have no JSON form; defaults are not sent
            model.model_json_schema(mode="serialization")
    except Exception as error:  # noqa: BLE001 - pydantic raises several types, and runs the user's code
        return f"{model.__name__} cannot travel: {sentence(str(error).split(chr(10))[0])}"
    schema = cast("Any", model).__pydantic_core_schema__
    reason = _why_not_read_back(schema, model.__name__) or why_slow(schema, model.__name__)
    return reason or why_not_equal(model, load)


def _why_not_read_back(schema: Mapping[str, Any], place: str) -> str | None:
    """Why a part of a model cannot be read back as it is written, None if it can.

    Reads the core schema (`pydantic_core.core_schema`) and not the annotations: it contains the effect of decorators,
    generics, aliases and nested classes.
    """
    serializer = schema.get("serialization", {}).get("function")
    if serializer is not None:  # the user's serializer decides what is written
        text = f"{place} is a secret, written as '**********'; give it a @field_serializer, or another type"
        return text if _hides(serializer) else None
    place = getattr(schema.get("cls"), "__name__", place)
    extra = schema.get("config", {}).get("extra_fields_behavior")
    if extra in _COMPUTED and getattr(schema.get("cls"), "model_computed_fields", None):
        return f"{place} writes computed fields, and {_COMPUTED[extra]}"
    for name, part in _parts(schema):
        where = f"{place}.{name}" if name else place
        if name and (reason := _why_not_field(name, part, where)):
            return reason
        if part.get("serialization_exclude"):  # never written
            continue
        if reason := _why_not_read_back(part, where):
            return reason
    return None


_COMPUTED = {
    "forbid": "refuses them when it is read, as it forbids extra fields",
    "allow": "keeps them when it is read, as it allows extra fields",
}
"""What becomes of computed fields in the models that do not ignore extra ones."""


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schemas inside a schema, each with the field's name, or "" if it is no field's."""
    for key, value in schema.items():
        if key in _NO_SCHEMAS:
            continue
        inner: Iterable[tuple[str, Any]] = ()
        if _is_dict(value):
            # A dict without "type" holds the schemas of fields, or of the members of a union.
            inner = [("", value)] if isinstance(value.get("type"), str) else value.items()
        elif _is_list(value):
            parts: list[Any] = [each[0] if isinstance(each, tuple) else each for each in value]
            inner = [(part.get("name", ""), part) for part in parts if _is_dict(part)]
        yield from ((name if key == "fields" else "", part) for name, part in inner if _is_dict(part))


def _is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


_CONTAINERS = frozenset({"list", "tuple", "set", "frozenset", "dict"})
# Keys of a core schema whose values are no schemas, or are written but never read.
_NO_SCHEMAS = frozenset({"computed_fields", "config", "custom_error_context", "default", "metadata"})


def _why_not_field(name: str, field: Mapping[str, Any], where: str) -> str | None:
    required = field.get("required", field["schema"]["type"] != "default")
    if required and "serialization_exclude_if" in field:
        return f"{where} is required, but may be left out of what is written (exclude_if); give it a default"
    if field.get("serialization_exclude") and required:
        return f"{where} is required, but excluded from what is written; give it a default, or do not exclude it"
    if field.get("serialization_exclude"):
        return None
    written, alias = field.get("serialization_alias", name), field.get("validation_alias", [])
    # An alias is a name, a path, or a list of paths. A path is a list of names and numbers.
    paths = [[alias]] if isinstance(alias, str) else alias if all(isinstance(each, list) for each in alias) else [alias]
    read = {name, *(path[0] for path in paths if len(path) == 1)}
    return None if written in read else f"{where} is written as {written!r} but not read as that"


def _hides(serializer: object) -> bool:
    """Whether it is pydantic's serializer of SecretStr, SecretBytes or Secret."""
    name: str = getattr(serializer, "__name__", "")
    return getattr(serializer, "__module__", "") == "pydantic.types" and name.startswith("_serialize_secret")
