"""Compares what was written with what was read: equal, and of the same classes all through, since `1 == True`."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any, cast

from meshcore.codec.read_back.own_code import as_failures

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 60
shown = _shown.repr
"""A value for an error text, cut when it is long."""


def different(value: Any, read: Any) -> Iterator[tuple[str, Any, Any]]:
    """The fields in which two models differ, both values of each. What is not written need not arrive."""
    fields: dict[str, Any] = cast("Any", type(value)).model_fields
    for name, field in fields.items():
        one, other = value.__dict__.get(name), read.__dict__.get(name)
        if field.exclude is not True and not is_same(one, other):
            yield name, one, other


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same class, all through."""
    cls = cast("Any", type(one))
    if cls is not cast("Any", type(other)):
        return False
    if hasattr(cls, "__pydantic_validator__") and hasattr(cls, "model_fields"):
        return next(different(one, other), None) is None
    if issubclass(cls, dict):
        return is_same(list(one.items()), list(other.items()))
    if issubclass(cls, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    try:
        with as_failures():
            return bool(one == other)
    except Exception:  # noqa: BLE001 - it runs the user's code
        return True
