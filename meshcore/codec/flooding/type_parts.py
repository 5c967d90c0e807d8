"""The parts of msgspec's description of a type, and the way back from a description to its type."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, Union, cast

import msgspec
from msgspec import inspect

Sets: TypeAlias = inspect.SetType | inspect.FrozenSetType
Lists: TypeAlias = inspect.ListType | inspect.VarTupleType
Objects: TypeAlias = inspect.StructType | inspect.DataclassType | inspect.TypedDictType | inspect.NamedTupleType

# Types with salted hashes, and types with a fixed number of values.
_Salted = (
    inspect.StrType
    | inspect.BytesType
    | inspect.MemoryViewType
    | inspect.DateType
    | inspect.EnumType
    | inspect.LiteralType
)
_Few = inspect.BoolType | inspect.NoneType
_PLAIN: dict[type[inspect.Type], Any] = {
    inspect.AnyType: Any,
    inspect.NoneType: None,
    inspect.BoolType: bool,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.StrType: str,
    inspect.BytesType: bytes,
    inspect.ByteArrayType: bytearray,
    inspect.MemoryViewType: memoryview,
    inspect.DateTimeType: dt.datetime,
    inspect.DateType: dt.date,
    inspect.TimeType: dt.time,
    inspect.TimeDeltaType: dt.timedelta,
    inspect.UUIDType: uuid.UUID,
    inspect.DecimalType: decimal.Decimal,
    inspect.RawType: msgspec.Raw,
}
_GENERIC: dict[type[inspect.Type], Any] = {
    inspect.DictType: dict,
    inspect.FrozenSetType: frozenset,
    inspect.ListType: list,
    inspect.SetType: set,
    inspect.TupleType: tuple,
}


def reachable(info: inspect.Type) -> Iterator[inspect.Type]:
    """A type and all types inside it, each once."""
    seen, left = set[int](), [info]
    while left:
        part = left.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            left.extend(_inner(part))


def _inner(info: Any) -> list[inspect.Type]:
    match info:
        case inspect.DictType():
            return [info.key_type, info.value_type]
        case inspect.TupleType():
            return [*info.item_types]
        case inspect.UnionType():
            return [*info.types]
        case inspect.Metadata():
            return [info.type]
        case _ if isinstance(info, Objects):
            return [field.type for field in info.fields]
        case _:
            return [info.item_type] if isinstance(info, Sets | Lists) else []


def is_unsalted(info: inspect.Type) -> bool:
    """Whether somebody who knows Python can find many values of a type whose hashes collide."""
    if isinstance(info, inspect.Metadata):
        return is_unsalted(info.type)
    if isinstance(info, inspect.UnionType):
        return any(map(is_unsalted, info.types))
    if isinstance(info, inspect.TupleType):
        return any(is_unsalted(item) or isinstance(item, _Few) for item in info.item_types)
    if isinstance(info, inspect.DateTimeType):
        return info.tz is not False
    return not isinstance(info, _Salted | _Few)


def has_untyped(info: inspect.Type) -> bool:
    """Whether a part of it may be anything."""
    return any(isinstance(part, inspect.AnyType) for part in reachable(info))


def is_keyed(info: inspect.Type) -> bool:
    """Whether it has keys with unsalted hashes itself.

    Untyped keys of dicts are no matter here: in JSON they are texts, and in msgpack `large_maps` finds them.
    """
    if isinstance(info, Sets):
        return is_unsalted(info.item_type)
    return isinstance(info, inspect.DictType) and not has_untyped(info.key_type) and is_unsalted(info.key_type)


def plain_type(info: Any) -> Any:
    """The type that a description describes, without its constraints."""
    if type(info) in _PLAIN:
        return _PLAIN[type(info)]
    inner: tuple[Any, ...] = () if isinstance(info, Objects) else tuple(map(plain_type, _inner(info)))
    match info:
        case inspect.LiteralType():
            return Literal[info.values]
        case inspect.Metadata():
            return inner[0]
        case inspect.UnionType():
            return Union[inner]  # noqa: UP007 - the members are known at run time only
        case inspect.VarTupleType():
            return tuple.__class_getitem__((*inner, ...))
        case _:
            made = _GENERIC.get(cast("type[inspect.Type]", type(info)))
            return info.cls if made is None else made[inner]
