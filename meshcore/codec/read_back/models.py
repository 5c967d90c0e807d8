"""Tries the fields of pydantic models.

How a model is written and read is decided by annotations, configuration and the user's code together: keys of a dict,
serializers, `Json`, look-alike unions, one-sided modes of bytes. So a few values of each field are validated, written
and read. If one does not arrive equal, the model cannot travel. What no value is known for is not tried. This takes
0.3 ms for a model of a few fields and 4 ms for one of 40 unions, once for each model.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from meshcore.codec.errors import ModelError, sentence
from meshcore.codec.read_back.equal import different, shown
from meshcore.codec.read_back.own_code import as_failures
from meshcore.codec.read_back.samples import Samples, Schema

if TYPE_CHECKING:
    from pydantic import BaseModel

_Load = Callable[[Any, bytes], Any]

_MOST_ALONE = 40  # values of one model that have one field of interest


def why_not_equal(model: type[BaseModel], load: _Load) -> str | None:
    """Which value of a model, or of one inside it, is not read back as it is written; None if none is found."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the user's code
        models = list(dict.fromkeys(each["cls"] for each in _schemas(cast("Any", model).__pydantic_core_schema__)))
        # The innermost first, so that it is the one that is named.
        return next(filter(None, (_why_not_equal(each, load) for each in reversed(models))), None)


@lru_cache(1024)
def _why_not_equal(model: type[BaseModel], load: _Load) -> str | None:
    schema: Schema = cast("Any", model).__pydantic_core_schema__
    samples = Samples(schema)
    own = next((each for each in _schemas(schema) if each["cls"] is model), None)
    if own is None:
        return None
    least = next(samples.model(own))
    fields = {name: samples.of(field.get("schema", field), 1) for name, field in samples.fields(own).items()}
    return next(filter(None, (_try(model, each, load) for each in _values(model, least, fields))), None)


def _values(model: type[BaseModel], least: dict[str, Any], fields: dict[str, list[Any]]) -> Iterator[Any]:
    """Some values of a model. Each has another value in every field, because to try each field alone takes long."""
    alone: list[dict[str, Any]] = []
    for row in range(max(map(len, fields.values()), default=1)):
        chosen = {name: found[row % len(found)] for name, found in fields.items() if found}
        value, refused = _value(model, {**least, **chosen})
        if value is None and refused:  # some fields only
            accepted = {name: each for name, each in chosen.items() if name not in refused}
            value, _ = _value(model, {**least, **accepted})
            chosen = {name: each for name, each in chosen.items() if name in refused}
        if value is not None:
            yield value
        if value is None or refused:
            alone += ({name: each} for name, each in chosen.items())
    for each in alone[:_MOST_ALONE]:
        if (found := _value(model, {**least, **each})[0]) is not None:
            yield found


def _value(model: Any, arguments: dict[str, Any]) -> tuple[Any, set[Any]]:
    """The value of a model with these fields; if a validator refuses it, None, and the fields that are refused."""
    try:
        with as_failures():
            return model.__pydantic_validator__.validate_python(arguments, by_alias=False, by_name=True), set()
    except sys.modules["pydantic"].ValidationError as error:
        places = {each["loc"][:1] for each in error.errors(include_url=False, include_context=False)}
        return None, {name for place in places for name in place} if () not in places else set()
    except Exception:  # noqa: BLE001 - it runs the user's code
        return None, set()


def _try(model: type[BaseModel], value: Any, load: _Load) -> str | None:
    """What is wrong with one value of a model."""
    try:
        with as_failures():
            data: bytes = value.__pydantic_serializer__.to_json(value, by_alias=True, warnings="error")
            read = load(model, data)
    except ModelError as error:
        name = error.path.removeprefix(".").partition(".")[0].partition("[")[0]
        example = shown(value.__dict__.get(name, value))
        return f"{model.__name__}{error.path} cannot be read as it is written, for example {example}: {error.reason}"
    except Exception as error:  # noqa: BLE001 - it runs the user's code
        reason = sentence(str(error)) or type(error).__name__
        return f"{model.__name__} cannot be written and read, for example {shown(value)}: {reason}"
    for name, one, other in different(value, read):
        return f"{model.__name__}.{name} is read back as another value: {shown(one)} as {shown(other)}"
    return None


def _schemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    """The core schemas of the models in a core schema."""
    if isinstance(schema, dict):
        found = cast("dict[str, Any]", schema)
        if found.get("type") == "model":
            yield found
        for key, inner in found.items():
            if key not in {"default", "metadata", "config", "computed_fields", "serialization"}:
                yield from _schemas(inner)
    elif isinstance(schema, list | tuple):
        for inner in cast("list[Any]", schema):
            yield from _schemas(inner)
