"""What decorators leave behind: immutable marks on exactly the class or function that was decorated."""

from __future__ import annotations

import inspect
from enum import Enum, auto
from types import FunctionType
from typing import Any, Final, TypeVar, cast

_MARKS = "__meshcore_marks__"

C = TypeVar("C")
M = TypeVar("M")


def add_mark(target: C, mark: object) -> C:
    """Attach a mark to a class or function and return it; marks that are there already stay."""
    setattr(target, _MARKS, (*marks_of(target), mark))
    return target


def marks_of(target: Any) -> tuple[object, ...]:
    """The marks of the class or function itself, not those of its bases; the outermost decorator's last."""
    try:
        # Past a __getattr__ of its own: that of what pydantic keeps in BaseModel raises errors of another kind.
        members = cast("dict[str, Any]", object.__getattribute__(target, "__dict__"))
    except AttributeError:  # it has slots, or is built in
        return ()
    marks: tuple[object, ...] = members.get(_MARKS, ())
    return marks


def find_mark(target: Any, kind: type[M]) -> M | None:
    """The mark of that kind on the class or function itself; of several, the outermost."""
    for mark in reversed(marks_of(target)):
        if isinstance(mark, kind):
            return mark
    return None


class Missing(Enum):
    """The absence of a value, where None is one."""

    MISSING = auto()


MISSING: Final = Missing.MISSING


def marked_methods(cls: type, kind: type[M] | tuple[type[M], ...]) -> dict[str, M]:
    """The methods with a mark of some kind, also if an override does not repeat it; base classes first."""
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
