"""Pydantic models inside the codec. Pydantic is optional: it is found only when the user has imported it.

msgspec hands us what it does not know through two hooks. Both directions go through pydantic's JSON mode, for msgpack
too: a model in strict mode accepts a datetime as text only there, and types of the user's own are dumped as what their
serializers say. So `bytes` of a model are text on the wire (set `ser_json_bytes` and `val_json_bytes` to "base64" for
others): that is pydantic's rule.

Names on the wire are the aliases, as in any published schema; on the way in, both the alias and the field name are
understood. Needs pydantic 2.11.

Why not `ormsgpack.OPT_SERIALIZE_PYDANTIC`, which packs a model four times as fast? It reads the attributes and ignores
what the model says about its form: aliases, serializers, computed and excluded fields. The other side would refuse it,
or get what was meant to stay here. (Figures: `python -m benchmarks.codec`.)
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, cast

import msgspec

from meshcore.codec.errors import ModelError, sentence, steps

if TYPE_CHECKING:
    from pydantic import BaseModel


def is_model(type_: object) -> TypeGuard[type[BaseModel]]:
    """Whether this is a class of pydantic models."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(type_, type) and issubclass(type_, base)


def load(model: type[BaseModel], data: bytes) -> Any:
    """Read JSON straight into a model, without a tree of dicts in between.

    Raises:
        ModelError: The model refuses it.
        msgspec.DecodeError: It is not JSON.
    """
    try:
        return model.__pydantic_validator__.validate_json(data, by_alias=True, by_name=True)
    except sys.modules["pydantic"].ValidationError as error:
        first, *others = error.errors(include_url=False, include_context=False, include_input=False)
        if first["type"] == "json_invalid":
            raise msgspec.DecodeError(first["msg"].removeprefix("Invalid JSON: ")) from error
        more = f" (and {len(others)} more)" if others else ""
        raise ModelError(steps(first["loc"]), sentence(first["msg"]) + more) from error


def dump(model: type[BaseModel], value: Any) -> bytes:
    """Write a model as JSON, without a tree of dicts in between.

    A field that holds what its type forbids is a warning for pydantic, and an error for us.

    Raises:
        TypeError: It is another object.
    """
    if not isinstance(value, model):
        raise TypeError(f"expected {model.__name__}, got {type(value).__name__}")
    return value.__pydantic_serializer__.to_json(value, by_alias=True, warnings="error")


def plain(value: Any) -> Any:
    """Encode for msgspec what it does not know: a model becomes a dict of plain values, anything else is refused.

    Raises:
        TypeError: It is no model.
    """
    if is_model(cast("object", type(value))):
        return value.model_dump(mode="json", by_alias=True, warnings="error")
    raise TypeError(f"{type(value).__qualname__} cannot travel")


def revive(type_: type, value: Any) -> Any:
    """Decode for msgspec what it does not know: a model from what arrived for it.

    Raises:
        ModelError: The model refuses it.
        TypeError: It is no model.
    """
    if is_model(type_):
        return load(type_, msgspec.json.encode(value))
    raise TypeError(f"{type_.__qualname__} cannot travel")


def model_schemas(
    models: Sequence[type[BaseModel]], mode: Literal["validation", "serialization"], template: str
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The JSON schemas of models: for each a reference, and what is referred to, by name.

    Args:
        models: of which.
        mode: as they are read, or as they are written.
        template: of references, with `{model}` in it.
    """
    if not models:
        return [], {}
    module: Any = importlib.import_module("pydantic.json_schema")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about defaults without a JSON form
        references, schema = module.models_json_schema([(model, mode) for model in models], ref_template=template)
    return [references[model, mode] for model in models], schema.get("$defs", {})


def why_not_model(model: type[BaseModel]) -> str | None:
    """Why a model cannot travel: it holds something without a JSON form, or is written otherwise than it is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about defaults without a JSON form, which do not travel
            model.model_json_schema(mode="serialization")
    except Exception as error:  # noqa: BLE001 - pydantic raises several, and runs code of the user's
        return f"{model.__name__} cannot travel: {sentence(str(error).split(chr(10))[0])}"
    return _why_not_read_back(cast("Any", model).__pydantic_core_schema__, model.__name__)


def _why_not_read_back(schema: Mapping[str, Any], place: str) -> str | None:
    """Why what a part of a core schema (`pydantic_core.core_schema`) writes is not what it reads.

    That and not the annotations: it has all that decorators, generics, aliases and nested classes come to.
    """
    serializer = schema.get("serialization", {}).get("function")
    if serializer is not None:  # one of the user's decides what is written
        text = f"{place} is a secret, written as '**********'; give it a @field_serializer, or another type"
        return text if _hides(serializer) else None
    place = getattr(schema.get("cls"), "__name__", place)
    forbids = schema.get("config", {}).get("extra_fields_behavior") == "forbid"
    if forbids and getattr(schema.get("cls"), "model_computed_fields", None):
        return f"{place} writes computed fields, and forbids what is no field when it is read"
    for name, part in _parts(schema):
        where = f"{place}.{name}" if name else place
        if name and (reason := _why_not_field(name, part, where)):
            return reason
        if part.get("serialization_exclude"):  # never written
            continue
        if reason := _why_not_read_back(part, where):
            return reason
    return None


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schemas in a schema; those of fields with their names."""
    for key, value in schema.items():
        if key in _NO_SCHEMAS:
            continue
        inner: Iterable[tuple[str, Any]] = ()
        if _is_dict(value):
            # Those without a type are of fields, or of the choices of a union.
            inner = [("", value)] if isinstance(value.get("type"), str) else value.items()
        elif _is_list(value):
            parts: list[Any] = [each[0] if isinstance(each, tuple) else each for each in value]
            inner = [(part.get("name", ""), part) for part in parts if _is_dict(part)]
        yield from ((name if key == "fields" else "", part) for name, part in inner if _is_dict(part))


def _is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


# What is written but never read, and what is no schema.
_NO_SCHEMAS = frozenset({"computed_fields", "config", "custom_error_context", "default", "metadata"})


def _why_not_field(name: str, field: Mapping[str, Any], where: str) -> str | None:
    if field.get("serialization_exclude") and field.get("required", field["schema"]["type"] != "default"):
        return f"{where} is required, but excluded from what is written; give it a default, or do not exclude it"
    if field.get("serialization_exclude"):
        return None
    written, alias = field.get("serialization_alias", name), field.get("validation_alias", [])
    # A text, a path, or a list of paths; a path is a list of texts and numbers.
    paths = [[alias]] if isinstance(alias, str) else alias if all(isinstance(each, list) for each in alias) else [alias]
    read = {name, *(path[0] for path in paths if len(path) == 1)}
    return None if written in read else f"{where} is written as {written!r} but not read as that"


def _hides(serializer: object) -> bool:
    """Whether it is that of SecretStr, SecretBytes or Secret: pydantic's own."""
    name: str = getattr(serializer, "__name__", "")
    return getattr(serializer, "__module__", "") == "pydantic.types" and name.startswith("_serialize_secret")
