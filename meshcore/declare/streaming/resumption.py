"""`@resumable`: how a stream that broke is called again, and whether that can work."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NotRequired, Required, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from meshcore.core.description import Parameter, Resumption
from meshcore.core.marks import find_mark
from meshcore.core.suggest import did_you_mean
from meshcore.declare.decorators import mark_function, refuse_bare

F = TypeVar("F", bound=Callable[..., Any])


class ResumableMark(msgspec.Struct, frozen=True):
    """The mark of `@resumable`."""

    parameter: str
    key: str


def resumable(parameter: str, key: str = "") -> Callable[[F], F]:
    """Declare how a stream goes on when it breaks: the method is called again, with the key of the last item.

        @resumable("after", key="number")
        def watch(self, sku: str, after: int = 0) -> AsyncIterator[Price]: ...

    The caller's loop goes on meanwhile. The implementation yields what follows that item, and not the item itself: then
    none is lost and none comes twice. Such a method is idempotent.

    Args:
        parameter: that gets the key of the last item.
        key: the field of an item that is its key. Default: the whole item.
    """
    refuse_bare("resumable", parameter, '@resumable("after", key="number")')
    return mark_function("resumable", ResumableMark(parameter, key))


def read_resumption(
    function: Any, parameters: Sequence[Parameter], item: Any, *, yields: bool, problems: list[str]
) -> Resumption | None:
    """How the streams of a method are resumed, None if they are not. What cannot work is added to the problems.

    Args:
        function: of the interface.
        parameters: of the method.
        item: the type of its items.
        yields: whether it returns a stream.
        problems: the list of problems.
    """
    mark = find_mark(function, ResumableMark)
    if mark is None:
        return None
    names = [parameter.name for parameter in parameters]
    if mark.parameter not in names:
        problems.append(f"@resumable: no parameter {mark.parameter!r}{did_you_mean(mark.parameter, names)}")
    elif not yields:
        problems.append("@resumable: its result is no stream, so nothing can be resumed")
    elif any(parameter.stream for parameter in parameters):
        problems.append("@resumable: it takes a stream, too, whose items cannot be sent again")
    else:
        at = names.index(mark.parameter)
        problems += [f"@resumable: {reason}" for reason in _why_not_key(item, mark, parameters[at].type)]
        return Resumption(at, mark.key)
    return None


def _why_not_key(item: Any, mark: ResumableMark, wanted: Any) -> list[str]:
    """Why the parameter cannot take the key of each item."""
    taken = _members(wanted)
    if Any in taken:
        return []
    what = f"key {mark.key!r}" if mark.key else "an item"
    problems: list[str] = []
    for member in _members(item):
        if member is Any:
            continue
        found, reason = _field(member, mark.key) if mark.key else (member, "")
        if reason:
            problems.append(reason)
            continue
        kinds = _members(found)
        if type(None) in kinds:
            problems.append(f"{what} may be None, which does not say where to go on")
        elif misfits := [kind for kind in kinds if not _fits(kind, taken)]:
            got, takes = " | ".join(map(_shown, misfits)), " | ".join(map(_shown, taken))
            problems.append(f"{what} is {got}, and {mark.parameter!r} takes {takes}")
    return problems


def _field(cls: Any, key: str) -> tuple[Any, str]:
    """The type of a field of a class, and why there is none."""
    plain: Any = get_origin(cls) or cls
    try:
        hints = get_type_hints(plain, include_extras=True)
    except (NameError, TypeError):
        hints = {}
    if key not in hints:
        return None, f"{_shown(cls)} has no field {key!r}{did_you_mean(key, hints)}"
    if key in getattr(plain, "__optional_keys__", ()) or get_origin(hints[key]) is NotRequired:
        return None, f"key {key!r} of {_shown(cls)} may be missing, and then nobody knows where to go on"
    return hints[key], ""


def _members(hint: Any) -> list[Any]:
    """The types that a value of a type may have: those of a union."""
    while get_origin(hint) in {Annotated, Required} or hasattr(hint, "__value__"):  # the latter of an alias
        hint = hint.__value__ if hasattr(hint, "__value__") else get_args(hint)[0]
    if get_origin(hint) in {Union, types.UnionType}:
        return [each for part in get_args(hint) for each in _members(part)]
    return [hint]


def _fits(kind: Any, taken: Sequence[Any]) -> bool:
    return isinstance(kind, TypeVar) or kind is Any or kind in taken or (kind is int and float in taken)


def _shown(hint: Any) -> str:
    return "None" if hint is type(None) else hint.__name__ if isinstance(hint, type) else str(hint)
