"""Keeps datetimes and times exact whose UTC offset has seconds: text has only hours and minutes for an offset.

Zones had such offsets before standard time (Amsterdam in 1930: +00:19:32). msgspec rounds them, pydantic cuts them off:
both write another moment. A datetime is written in UTC instead. A time has no date, so it has no UTC form, and is
refused.

What looks for such values is built once for each type. It visits only the fields that may contain a datetime or a
time: 5 us for 7 objects with a datetime each, nothing for types without one. msgpack has timestamps, so there only
times and the text of pydantic models count.
"""

from __future__ import annotations

import copy
import datetime as dt
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import inspect

from meshcore.codec.encode_error_path import fields_of
from meshcore.codec.errors import EncodeError
from meshcore.codec.packed_models import classes_of_plain
from meshcore.codec.pydantic_models import is_model

_MINUTE = dt.timedelta(minutes=1)
_EXACT = dt.timedelta(0)
# Leaves without an offset, which are most of a value.
_LEAVES = frozenset({str, int, float, bool, bytes, type(None), Decimal, uuid.UUID, dt.date, dt.timedelta})
# All digits become 0. Then an offset is written as 0Z, +00:00 or -00:00.
_SKELETON = bytes.maketrans(b"123456789", b"000000000")
_OFFSETS = (b"0Z", b"-00:00", b"+00:00")

_ITEMS: tuple[type, ...] = (list, tuple, set, frozenset, deque)
_Find: TypeAlias = Callable[[Any], bool]


def inexact_offset_finder(type_: Any, *, datetimes: bool) -> _Find:
    """A function that says whether a value of a type may contain an offset with seconds.

    Args:
        type_: The type.
        datetimes: Datetimes count, too; otherwise only times, because the format has timestamps.
    """
    find = _Finders(datetimes).of(inspect.type_info(type_))

    def finds(value: Any) -> bool:
        try:
            return find is not None and find(value)
        except Exception:  # noqa: BLE001 - the value is not of its type, which an encoder does not check
            return True

    return finds


class _Finders:
    """What looks into the values of each part of a type; None where there is nothing to look for."""

    def __init__(self, datetimes: bool) -> None:  # noqa: FBT001 - private
        """Start with nothing known."""
        self._datetimes = datetimes
        self._known: dict[int, _Find | None] = {}

    def of(self, info: inspect.Type) -> _Find | None:
        """The function for a type, which may contain itself."""
        key, known = id(info), self._known
        if key not in known:
            known[key] = lambda value: bool((find := known[key]) and find(value))
            known[key] = self._build(info)
        return known[key]

    def _build(self, info: inspect.Type) -> _Find | None:  # noqa: PLR0911 - one for each kind
        match info:
            case inspect.TimeType():
                return _is_inexact
            case inspect.DateTimeType():
                return _is_inexact if self._datetimes else None
            case inspect.CustomType() if classes_of_plain(info.cls) is not None:
                return None
            case inspect.AnyType() | inspect.CustomType() | inspect.TypedDictType():
                return _may_be
            case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
                return _among_items(self.of(info.item_type))
            case inspect.DictType():
                return _first_of([_among_items(self.of(info.key_type)), _among_values(self.of(info.value_type))])
            case inspect.TupleType():
                return _first_of([_at(itemgetter(at), self.of(each)) for at, each in enumerate(info.item_types)])
            case inspect.StructType() | inspect.DataclassType() | inspect.NamedTupleType():
                return _first_of([_at(attrgetter(each.name), self.of(each.type)) for each in info.fields])
            case inspect.UnionType():
                members = [each for each in info.types if not isinstance(each, inspect.NoneType)]
                found = [find for each in members if (find := self.of(each))]
                return _unless_none(found[0]) if found and len(members) == 1 else _may_be if found else None
            case _:
                return None


def may_have_offset(data: bytes) -> bool:
    """Whether encoded data contains what may be the offset of a datetime or a time."""
    skeleton = data.translate(_SKELETON)
    return any(skeleton.find(offset) >= 0 for offset in _OFFSETS)


def _may_be(_: Any) -> bool:
    return True


def _is_inexact(value: dt.datetime | dt.time) -> bool:
    zone = value.tzinfo
    return zone is not None and zone is not dt.UTC and bool((value.utcoffset() or _EXACT) % _MINUTE)


def _at(get: Callable[[Any], Any], find: _Find | None) -> _Find | None:
    return find and (lambda value: find(get(value)))


def _among_items(find: _Find | None) -> _Find | None:
    return find and (lambda value: any(map(find, value)))


def _among_values(find: _Find | None) -> _Find | None:
    return find and (lambda value: any(map(find, value.values())))


def _unless_none(find: _Find) -> _Find:
    return lambda value: value is not None and find(value)


def _first_of(parts: list[_Find | None]) -> _Find | None:
    found = [part for part in parts if part]
    if len(found) <= 1:
        return found[0] if found else None

    def finds(value: Any) -> bool:
        for part in found:  # noqa: SIM110 - `any` with a generator takes twice as long
            if part(value):
                return True
        return False

    return finds


def with_exact_offsets(value: Any, path: str = "$") -> Any:
    """The value in which each datetime with seconds in its offset is in UTC; the same object if there is none.

    Raises:
        EncodeError: A time has such an offset, or a datetime has no form in UTC.
    """
    if type(value) in _LEAVES:
        return value
    if isinstance(value, dt.datetime | dt.time):
        return _exact(value, path) if _is_inexact(value) else value
    if isinstance(value, dict):
        return _dict(value, path)
    if isinstance(value, _ITEMS):
        items = list(cast("Iterable[Any]", value))
        changed = _changed(enumerate(items), path, "[{}]")
        if not changed:
            return value
        made = [changed.get(index, item) for index, item in enumerate(items)]
        cls = cast("Any", type(value))
        return getattr(cls, "_make", cls)(made)  # a named tuple has `_make`
    changed = _changed(((name, getattr(value, name, None)) for name, _ in fields_of(value)), path, ".{}")
    return _replaced(value, changed) if changed else value


def _exact(value: dt.datetime | dt.time, path: str) -> dt.datetime:
    if isinstance(value, dt.time):
        reason = f"the offset of {value} has seconds, which the text of a time does not have: use whole minutes"
        raise EncodeError(path, reason)
    try:
        return value.astimezone(dt.UTC)
    except OverflowError as error:
        raise EncodeError(path, f"the offset of {value} has seconds, and it has no form in UTC") from error


def _changed(parts: Iterable[tuple[Any, Any]], path: str, step: str) -> dict[Any, Any]:
    """The parts that have to be written otherwise."""
    found: dict[Any, Any] = {}
    for name, part in parts:
        if type(part) in _LEAVES:
            continue
        exact = with_exact_offsets(part, path + step.format(name))
        if exact is not part:
            found[name] = exact
    return found


def _dict(value: Any, path: str) -> Any:
    keys = _changed(((key, key) for key in value), path, "[{!r}]")
    changed = _changed(value.items(), path, "[{!r}]")
    if not (keys or changed):
        return value
    made = copy.copy(value)  # not `type(value)()`: a defaultdict has a factory
    made.clear()
    made.update({keys.get(key, key): changed.get(key, part) for key, part in value.items()})
    return made


def _replaced(value: Any, changed: dict[str, Any]) -> Any:
    """A copy of an object with other values of some fields."""
    if is_model(cast("object", type(value))):
        return value.model_copy(update=changed)
    made = copy.copy(value)
    put = msgspec.structs.force_setattr if isinstance(value, msgspec.Struct) else object.__setattr__
    for name, part in changed.items():
        put(made, name, part)  # also of a frozen class
    return made
