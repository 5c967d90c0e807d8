"""Tries dataclasses, structs and classes of attrs whose own code runs when one is made.

msgspec calls `__post_init__` for a decoded value as Python does for a new one. If that changes a field each time
(`self.price *= 2`), or refuses what it has made itself, a value does not arrive equal. Classes without such code need
no trial: msgspec reads what it writes.
"""

from __future__ import annotations

import datetime as dt
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias, get_origin
from uuid import UUID

import msgspec
from msgspec import inspect

from meshcore.codec.errors import sentence, split
from meshcore.codec.read_back.equal import is_same, shown
from meshcore.codec.read_back.own_code import as_failures

Record: TypeAlias = inspect.StructType | inspect.DataclassType

_HOOKS = ("__post_init__", "__attrs_post_init__")
_DEEPEST = 4
_NOON = dt.datetime(2024, 1, 2, 12, tzinfo=dt.UTC)
_FIXED: Mapping[type[inspect.Type], tuple[Any, ...]] = {
    inspect.AnyType: ("a",),
    inspect.NoneType: (None,),
    inspect.BoolType: (False, True),
    inspect.BytesType: (b"ab",),
    inspect.DecimalType: (Decimal("1.50"), Decimal(0)),
    inspect.UUIDType: (UUID(int=5),),
    inspect.DateTimeType: (_NOON, _NOON.replace(tzinfo=None)),
    inspect.DateType: (_NOON.date(),),
    inspect.TimeType: (_NOON.time(),),
    inspect.TimeDeltaType: (dt.timedelta(days=1),),
}
_CONTAINERS: Mapping[type[inspect.Type], Callable[[Iterable[Any]], Any]] = {
    inspect.ListType: list,
    inspect.VarTupleType: tuple,
    inspect.SetType: set,
    inspect.FrozenSetType: frozenset,
}


def why_not_record(info: Record) -> str | None:
    """Which value of a class is not read back as it is written, None if none is found."""
    cls = get_origin(info.cls) or info.cls
    if not any(hasattr(cls, name) for name in _HOOKS) or cls.__eq__ is object.__eq__:
        return None
    return _why_not(info.cls)


@lru_cache(1024)
def _why_not(cls: Any) -> str | None:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType | inspect.DataclassType)  # noqa: S101 - the caller had it so
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the user's code
        return next(filter(None, (_try(info, value) for value in _records(info, 0))), None)


def _try(info: Record, value: Any) -> str | None:
    name = type(value).__name__
    try:
        with as_failures():
            data = msgspec.json.encode(value)
    except Exception:  # noqa: BLE001 - of a part that is no value of its type
        return None
    try:
        with as_failures():
            read: Any = msgspec.json.decode(data, type=info.cls)
    except msgspec.ValidationError as error:
        if error.__cause__ is None:  # what was tried is no value of the type, which a constructor does not check
            return None
        return f"{name} cannot be read as it is written, for example {shown(value)}: {split(str(error))[1]}"
    except Exception as error:  # noqa: BLE001 - it runs the user's code
        return f"{name} cannot be read as it is written, for example {shown(value)}: {sentence(str(error))}"
    for field in info.fields:
        one, other = (getattr(each, field.name, None) for each in (value, read))
        if not is_same(one, other) and value != read:
            return f"{name}.{field.name} is read back as another value: {shown(one)} as {shown(other)}"
    return None


def _records(info: Record, depth: int) -> list[Any]:
    """Objects of a class, as its constructor makes them: with the required fields only, then with all."""
    found = {field.name: (field.required, _samples(field.type, depth + 1)) for field in info.fields}
    least = {name: values[0] for name, (required, values) in found.items() if required and values}
    every = [{name: values[row % len(values)] for name, (_, values) in found.items() if values} for row in range(3)]
    made: list[Any] = []
    for chosen in (least, *every):
        with suppress(Exception), as_failures():  # the user's code refuses it
            made.append(info.cls(**chosen))
    return made


def _samples(info: inspect.Type, depth: int) -> list[Any]:
    if depth > _DEEPEST:
        return []
    return list(itertools.islice(_all_samples(info, depth), 4))


def _all_samples(info: inspect.Type, depth: int) -> Iterator[Any]:
    match info:
        case inspect.UnionType():
            yield from (value for member in info.types for value in _samples(member, depth)[:1])
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            yield from (_CONTAINERS[type(info)]([value]) for value in _samples(info.item_type, depth + 1))
        case inspect.DictType():
            keys, values = _samples(info.key_type, depth + 1), _samples(info.value_type, depth + 1)
            yield from ({key: value} for key, value in zip(keys, values, strict=False))
        case inspect.TupleType():
            yield from zip(*(_samples(each, depth + 1) for each in info.item_types), strict=False)
        case inspect.StructType() | inspect.DataclassType():
            yield from _records(info, depth)
        case _:
            yield from _scalars(info)


def _scalars(info: inspect.Type) -> Iterator[Any]:
    match info:
        case inspect.IntType() | inspect.FloatType():
            yield from _numbers(info)
        case inspect.StrType():
            yield from ("a".ljust(info.min_length or 0, "a"), "B c ")
        case inspect.EnumType():
            yield from info.cls
        case inspect.LiteralType():
            yield from info.values
        case _:
            yield from _FIXED.get(type(info), ())


def _numbers(info: inspect.IntType | inspect.FloatType) -> Iterator[Any]:
    make = int if isinstance(info, inspect.IntType) else float
    least = info.ge if info.ge is not None else info.gt
    yield make(3 if least is None else least + 1)
    yield from (make(1), make(-2), make(0))
