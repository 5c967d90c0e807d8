"""What decorators leave behind: immutable marks on exactly the class or function that was decorated."""

from __future__ import annotations

from typing import Any, TypeVar, cast

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
