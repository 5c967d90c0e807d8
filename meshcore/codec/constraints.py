"""Finds constraints in annotations that would not be enforced.

`Annotated[int, msgspec.Meta(gt=0)]` is enforced wherever msgspec reads the type, and `pydantic.Field(gt=0)` inside of a
pydantic model. The constraints of one have no effect in the types of the other, and neither of the two knows those of
further libraries. All of these are refused, because a constraint that silently does nothing is worse than an error.

They are not translated: msgspec reads the annotations of a class itself, so `Gt(0)` would be enforced for a parameter
and ignored in a field of a dataclass.
"""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

import msgspec

from meshcore.codec.aliases import why_not_field
from meshcore.codec.pydantic_models import is_model

_BOUNDS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "tz")
"""The attributes of `msgspec.Meta` that are constraints. Most libraries use the same names."""

_OTHER_BOUNDS = ("regex", "min", "max", "min_items", "max_items", "max_digits", "decimal_places", "predicate")
_LIBRARIES = frozenset({"annotated_types", "attr", "attrs", "beartype", "phantom", "pydantic", "pydantic_core"})
_NO_LIBRARIES = sys.stdlib_module_names | {"__future__", "typing_extensions", "msgspec", "meshcore"}
# What only documents, or says what msgspec does anyway.
_HARMLESS = frozenset({"DocInfo", "Unit", "WithJsonSchema", "Examples", "SkipJsonSchema", "Strict", "FailFast"})
_DOCUMENTING = frozenset(
    {
        "title",
        "description",
        "examples",
        "deprecated",
        "json_schema_extra",
        "repr",
        "annotation",
        "field_title_generator",
    }
)
_FIELDS = ("__struct_fields__", "__dataclass_fields__", "__attrs_attrs__", "__required_keys__", "_fields")


def why_not_enforced(type_: Any) -> str | None:
    """Which constraint in a type would not be enforced, with its place; None if there is none.

    Example:
        >>> why_not_enforced(list[Annotated[int, annotated_types.Gt(0)]])
        '$[]: annotated_types.Gt would not be enforced here; write msgspec.Meta(gt=0)'
    """
    found = next(_Walk().visit(type_, "$"), None)
    if found is None:
        return None
    path, reason = found
    return reason if path == "$" else f"{path}: {reason}"


def is_foreign_constraint(entry: Any) -> bool:
    """Whether metadata looks like a constraint of another library than msgspec."""
    cls: type[Any] = entry if isinstance(entry, type) else type(entry)
    if isinstance(entry, slice | re.Pattern):
        return True
    if cls.__module__.partition(".")[0] in _NO_LIBRARIES or cls.__name__ in _HARMLESS:
        return False
    libraries = {base.__module__.partition(".")[0] for base in cls.__mro__}
    if "FieldInfo" in {base.__name__ for base in cls.__mro__}:
        asked: set[str] = set(getattr(entry, "_attributes_set", ()))
        return bool(getattr(entry, "metadata", ())) or not asked <= _DOCUMENTING
    if cls.__name__ == "AllowInfNan":
        return not getattr(entry, "allow_inf_nan", True)
    return (
        not libraries.isdisjoint(_LIBRARIES)
        or hasattr(entry, "__get_pydantic_core_schema__")
        or any(getattr(entry, name, None) is not None for name in (*_BOUNDS, *_OTHER_BOUNDS))
        or callable(getattr(entry, "validate", None))
    )


class _Walk:
    """One pass over a type as it was written; msgspec's description of it no longer has foreign metadata."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._seen = set[tuple[Any, bool]]()
        self._kept: list[Any] = []  # so that no identity in `_seen` is used again

    def visit(self, hint: Any, path: str, model: str = "") -> Iterator[tuple[str, str]]:
        """The constraints without effect in a type. `model` is the name of the pydantic model around it, if any."""
        if (id(hint), bool(model)) in self._seen:
            return
        self._seen.add((id(hint), bool(model)))
        self._kept.append(hint)
        if get_origin(hint) is Annotated:
            reasons = (_why_no_effect(entry, model) for entry in get_args(hint)[1:])
            yield from ((path, reason) for reason in reasons if reason)
        for step, part in _parts(hint):
            yield from self.visit(part, path + step, model)
        if isinstance(hint, type) and get_origin(hint) is None:
            yield from self._class(hint, path, model)

    def _class(self, cls: Any, path: str, model: str) -> Iterator[tuple[str, str]]:
        if is_model(cls):
            with suppress(AttributeError):  # it is not complete
                for name, field in cls.model_fields.items():
                    where = f"{path}.{name}"
                    reasons = [reason for entry in field.metadata if (reason := _why_no_effect(entry, cls.__name__))]
                    yield from ((where, reason) for reason in reasons)
                    yield from self.visit(field.annotation, where, cls.__name__)
            return
        if not any(hasattr(cls, name) for name in _FIELDS):
            return
        for name, hint in _hints(cls).items():
            if not model and (reason := why_not_field(hint, cls)):
                yield f"{path}.{name}", reason
            yield from self.visit(hint, f"{path}.{name}", model)
            default = getattr(getattr(cls, "__dataclass_fields__", {}).get(name), "default", None)
            if not model and (reason := _why_no_effect(default, model)):
                yield f"{path}.{name}", reason


def _parts(hint: Any) -> list[tuple[str, Any]]:
    """The types inside a type that is no class, each with its step in the path."""
    origin: Any = get_origin(hint)
    if origin is Annotated:
        return [("", get_args(hint)[0])]
    if origin in {ClassVar, Literal}:
        return []
    if origin is not None:
        step = "" if not isinstance(origin, type) else "{}" if issubclass(origin, dict) else "[]"
        return [("", origin), *((step, argument) for argument in get_args(hint))]
    if type(hint).__name__ == "TypeAliasType":
        with suppress(Exception):  # it runs the user's code; msgspec reports the error
            return [("", hint.__value__)]
    if isinstance(hint, typing.TypeVar):
        return [("", bound) for bound in (hint.__bound__, *hint.__constraints__)]
    return [("", hint.__supertype__)] if isinstance(hint, typing.NewType) else []


def _hints(cls: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception:  # noqa: BLE001 - evaluating an annotation runs code of the user's; msgspec reports the error
        return {}


def _why_no_effect(entry: Any, model: str) -> str | None:
    if model:
        bounds = _bounds(entry) if isinstance(entry, msgspec.Meta) else ""
        return f"msgspec.Meta has no effect in a pydantic model; write pydantic.Field({bounds})" if bounds else None
    return why_no_constraint(entry) if is_foreign_constraint(entry) else None


def why_no_constraint(entry: Any) -> str:
    """What to write instead of a constraint that would not be enforced."""
    cls: type[Any] = entry if isinstance(entry, type) else type(entry)
    name = cls.__name__.replace("FieldInfo", "Field").strip("_")
    library = cls.__module__.partition(".")[0]
    name = f"{library}.{name}" if library in _LIBRARIES else name
    parts = [entry, *getattr(entry, "metadata", ())]
    bounds = ", ".join(filter(None, map(_bounds, parts)))
    mend = f"write msgspec.Meta({bounds})" if bounds else "check it in the implementation, or in a pydantic model"
    return f"{name} would not be enforced here; {mend}"


def _bounds(entry: Any) -> str:
    """The constraints of a piece of metadata, as arguments of `Meta` and `Field`."""
    named: dict[str, Any] = {name: getattr(entry, name, None) for name in _BOUNDS}
    return ", ".join(
        f"{name}={getattr(value, 'pattern', value)!r}"  # a compiled pattern as its text
        for name, value in named.items()
        if value is not None and (name, value) != ("min_length", 0) and _is_bound(name, value)
    )


def _is_bound(name: str, value: Any) -> bool:
    """Whether `Meta` takes it: of bounds only numbers, so that of a date it takes none."""
    return name in {"pattern", "tz"} or isinstance(value, int | float)
