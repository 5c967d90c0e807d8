"""Marks: immutable values that decorators attach to exactly the class or function that they decorate."""

from __future__ import annotations

import inspect
from enum import Enum, auto
from types import FunctionType
from typing import Any, Final, TypeVar, cast

_MARKS = "__meshcore_marks__"

C = TypeVar("C")
M = TypeVar("M")


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = auto()


MISSING: Final = Missing.MISSING
"""The absence of a value, where None would be a value."""


def add_mark(target: C, mark: object) -> C:
    """Attach a mark to a class or function and return that. Earlier marks stay."""
    setattr(target, _MARKS, (*marks_of(target), mark))
    return target


def marks_of(target: Any) -> tuple[object, ...]:
    """The marks of the class or function itself, not of its bases. The outermost decorator's mark is the last."""
    try:
        # Without the object's own __getattr__: pydantic's raises other errors than AttributeError.
        members = cast("dict[str, Any]", object.__getattribute__(target, "__dict__"))
    except AttributeError:  # it has slots, or is a builtin
        return ()
    marks: tuple[object, ...] = members.get(_MARKS, ())
    return marks


def find_mark(target: Any, kind: type[M]) -> M | None:
    """The mark of that type on the class or function itself. Of several, the outermost."""
    for mark in reversed(marks_of(target)):
        if isinstance(mark, kind):
            return mark
    return None


def marked_methods(cls: type, kind: type[M] | tuple[type[M], ...]) -> dict[str, M]:
    """The methods with a mark of that type, those of base classes first. An override need not repeat the mark."""
    found: dict[str, M] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            for mark in marks_of(member):
                if isinstance(mark, kind):
                    found[name] = mark
    return found


def takes_one(function: object) -> bool:
    """Whether this is a plain method that can be called with exactly one argument."""
    if not isinstance(function, FunctionType):
        return False
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    return True
