"""Decides which types can be sent, and what a codec has to check for each. Runs once, when a method is described.

A type can be sent if both codecs can encode it and decode it again, so that a service works over every channel.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
from msgspec import inspect

from meshcore.codec.aliases import is_recursive
from meshcore.codec.constraints import why_not_enforced
from meshcore.codec.errors import TravelError, sentence
from meshcore.codec.flooding.type_parts import is_keyed, reachable
from meshcore.codec.packed_models import classes_of_plain
from meshcore.codec.pydantic_models import is_model, why_not_model
from meshcore.codec.read_back.records import why_not_record

_Objects = inspect.StructType | inspect.DataclassType | inspect.TypedDictType | inspect.NamedTupleType
_Arrays = inspect.ListType | inspect.SetType | inspect.FrozenSetType | inspect.VarTupleType
_Keyed = (
    inspect.AnyType
    | inspect.CustomType
    | inspect.DictType
    | inspect.StructType
    | inspect.DataclassType
    | inspect.TypedDictType
)
# The types that JSON can write as keys. Others (bool, None, tuples, objects) only msgpack can.
_Keys = (
    inspect.AnyType
    | inspect.StrType
    | inspect.BytesType
    | inspect.IntType
    | inspect.FloatType
    | inspect.DecimalType
    | inspect.EnumType
    | inspect.UUIDType
    | inspect.DateTimeType
    | inspect.DateType
    | inspect.TimeType
    | inspect.TimeDeltaType
)

_Containers = _Objects | _Arrays | inspect.DictType | inspect.TupleType
# Values that take much more memory than bytes, though they are no containers.
_Heavy = inspect.RawType | inspect.DecimalType


class Items(Enum):
    """What counts against the limit of items in a body of some type."""

    NONE = "nothing: its lists and objects are no more than the type has"
    CONTAINERS = "lists and objects, since there may be a list of them"
    ALL = "everything"


@dataclass(frozen=True, slots=True)
class Shape:
    """What the values of a type may contain.

    Attributes:
        bounded: The type limits how deep a value nests: it contains neither itself nor `Any`. (`msgspec.Raw`, which
            envelopes use, is bounded: its content is checked when that is decoded.)
        floats: A value may contain floats.
        keyed: A value may contain objects, which have keys.
        datetimes: A value may contain datetimes.
        times: A value may contain times, or the text of a pydantic model.
        items: What counts against the limit of items (see `items`).
    """

    bounded: bool = True
    floats: bool = False
    keyed: bool = False
    datetimes: bool = False
    times: bool = False
    items: Items = Items.NONE


def why_not_type(type_: Any) -> str | None:
    """Why a type cannot be sent, on one line with the path in the type; None if it can.

    Example:
        >>> why_not_type(list[Callable[[], int]])
        '$[]: Callable cannot travel'
    """
    try:
        shape_of(type_)
    except TravelError as error:
        return str(error)
    return None


def shape_of(type_: Any) -> Shape:
    """The shape of a type.

    Raises:
        TravelError: The type cannot be sent.
    """
    if reason := why_not_enforced(type_):
        raise TravelError(reason)
    try:
        info = inspect.type_info(type_)
        msgspec.json.Decoder(type_)
        msgspec.msgpack.Decoder(type_)
    except Exception as error:  # TypeError, NameError for a forward reference, or whatever a metaclass raises
        raise TravelError(sentence(str(error)) or type(error).__name__) from error
    walk = _Walk()
    walk.visit(info, "$")
    return Shape(
        walk.bounded, walk.floats, walk.keyed, walk.datetimes, walk.times, _items_of(info, bounded=walk.bounded)
    )


def _items_of(info: inspect.Type, *, bounded: bool) -> Items:
    if not bounded or any(map(is_keyed, reachable(info))):  # large bodies with keys are decoded twice
        return Items.ALL
    repeated = [
        part
        for each in reachable(info)
        if isinstance(each, _Arrays | inspect.DictType)
        for item in ([each.value_type] if isinstance(each, inspect.DictType) else [each.item_type])
        for part in reachable(item)
    ]
    if any(isinstance(part, _Heavy) for part in repeated):
        return Items.ALL
    return Items.CONTAINERS if any(isinstance(part, _Containers) for part in repeated) else Items.NONE


class _Walk:
    """One pass over msgspec's description of a type, which is a graph: a recursive type refers to itself."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.bounded = True
        self.floats = False
        self.keyed = False
        self.datetimes = False
        self.times = False
        self._active = set[int]()
        self._done = set[int]()

    def visit(self, info: inspect.Type, path: str) -> None:
        """Visit a type and the types inside it."""
        if id(info) in self._active:
            self.bounded = False
            return
        if id(info) in self._done:
            return
        reason = _refusal(info)
        if reason is not None:
            raise TravelError(reason if path == "$" else f"{path}: {reason}")
        anything = isinstance(info, inspect.AnyType | inspect.CustomType)  # a model is decoded as Any first
        self.bounded &= not anything
        self.floats |= anything or isinstance(info, inspect.FloatType)
        untimed = isinstance(info, inspect.CustomType) and classes_of_plain(info.cls) is not None
        self.datetimes |= isinstance(info, inspect.DateTimeType) or (anything and not untimed)
        self.times |= isinstance(info, inspect.TimeType) or (anything and not untimed)
        self.keyed |= isinstance(info, _Keyed) and not getattr(info, "array_like", False)
        self._active.add(id(info))
        for step, inner in _parts(info):
            self.visit(inner, path + step)
        self._active.remove(id(info))
        self._done.add(id(info))


def _refusal(info: inspect.Type) -> str | None:
    """Why this type cannot be sent, without regard to the types inside it."""
    match info:
        case inspect.CustomType() if not is_recursive(info.cls):
            return why_not_model(info.cls) if is_model(info.cls) else _opaque(info.cls)
        case inspect.ExtType():
            return "Ext cannot travel: JSON has none"
        case inspect.DataclassType() | inspect.StructType():
            return _why_not_dataclass(info.cls) or why_not_record(info)
        case inspect.DictType() if (name := _bad_key(info.key_type)) is not None:
            return f"{name} cannot be the key of a dict: JSON has text there"
        case _:
            return None


def _why_not_dataclass(cls: Any) -> str | None:
    """Why a dataclass, or a class of attrs, cannot be sent."""
    if hasattr(cls, "__pydantic_validator__"):
        return f"{_name(cls)} is a pydantic dataclass, which would not be validated: make it a BaseModel"
    for field in getattr(cls, "__attrs_attrs__", ()):
        if field.name.startswith("_"):
            return f"{_name(cls)}.{field.name} is private: msgspec does not write private fields of attrs, so rename it"
    return None


def _bad_key(info: inspect.Type) -> str | None:
    """The name of a type that JSON cannot use for keys, or would decode as another type; None if it can."""
    if isinstance(info, inspect.UnionType):
        if any(isinstance(member, inspect.StrType) for member in info.types):
            return "a union with str"  # 1 and "1" are the same name
        return next(filter(None, map(_bad_key, info.types)), None)
    if isinstance(info, inspect.LiteralType):
        return None if {type(value) for value in info.values} in ({str}, {int}) else "such a Literal"
    if isinstance(info, _Keys):
        return None
    return _name(getattr(info, "cls", None)) or type(info).__name__.removesuffix("Type").lower()


def _parts(info: inspect.Type) -> Iterator[tuple[str, inspect.Type]]:
    """The types inside a type, each with its step in the path."""
    if isinstance(info, inspect.Metadata):  # a description or an example, around the type that has it
        yield "", info.type
    elif isinstance(info, _Arrays):
        yield "[]", info.item_type
    elif isinstance(info, inspect.TupleType):
        yield from ((f"[{index}]", item) for index, item in enumerate(info.item_types))
    elif isinstance(info, inspect.DictType):
        yield "{key}", info.key_type
        yield "{}", info.value_type
    elif isinstance(info, inspect.UnionType):
        yield from (("", member) for member in info.types)
    elif isinstance(info, _Objects):
        yield from ((f".{field.encode_name}", field.type) for field in info.fields)


def _opaque(class_: object) -> str:
    """Why a class whose fields are not known cannot be sent; the mend if it is not one of Python's own."""
    text = f"{_name(class_)} cannot travel"
    home = getattr(class_, "__module__", "builtins").partition(".")[0]
    return text if home in sys.stdlib_module_names else f"{text}; a dataclass can"


def _name(class_: object) -> str:
    """The name of a class, empty if it is no class."""
    return getattr(class_, "__name__", "")
