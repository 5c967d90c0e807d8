"""Converts values to text and back, for paths, queries and headers. `from_text` reads what `to_text` writes.

A query repeats a name for a list (`?tag=a&tag=b`). `None` and an empty list are sent by leaving the name out.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from typing import Any, cast

import msgspec
from msgspec import inspect

from meshcore.codec.errors import DecodeError, EncodeError, TravelError, decode_error, encode_error
from meshcore.codec.flooding.key_hashes import MAX_EQUAL, KeyChecker
from meshcore.codec.flooding.type_parts import Sets, plain_type
from meshcore.codec.offsets import with_exact_offsets
from meshcore.codec.wire_types import shape_of

_Lists = inspect.ListType | inspect.SetType | inspect.FrozenSetType | inspect.VarTupleType
_Arrays = _Lists | inspect.TupleType
_NoText = (
    inspect.DictType
    | inspect.StructType
    | inspect.DataclassType
    | inspect.TypedDictType
    | inspect.NamedTupleType
    | inspect.CustomType
    | inspect.RawType
)
_Bytes = inspect.BytesType | inspect.ByteArrayType | inspect.MemoryViewType
_READERS = {inspect.IntType: int, inspect.FloatType: float, inspect.BoolType: bool}
_ITEM = re.compile(r"^\$\[(\d+)\]$")
_SHOWN = 40
_LARGEST = 10**1000
"""Python writes and reads no integers of more than some thousand digits, as that takes quadratic time."""


def from_text(type_: Any) -> Callable[[str | list[str]], Any]:
    """A function that reads a value of a type from text.

    It takes one text, or the texts of a repeated name, and raises `DecodeError` if they are no such value. Numbers are
    read from text, booleans from true, false, 1 and 0, a datetime also from a Unix time.

    Args:
        type_: A scalar; a list, set or tuple of scalars; or a union of these with None.

    Raises:
        TravelError: Values of this type cannot be written as text.
    """
    shape = shape_of(type_)
    members = list(_members(inspect.type_info(type_)))
    for member in members:
        _require_text(member)
    repeated = any(isinstance(member, _Arrays) for member in members)
    sets = [_list_of(plain_type(each.item_type)) for each in members if isinstance(each, Sets)]
    single = any(not isinstance(member, _Arrays | inspect.NoneType) for member in members)

    def read(text: str | list[str]) -> Any:
        source: str | list[str] = text
        if isinstance(text, str):
            source = text if single else [text]
        elif not repeated or (single and len(text) == 1):
            if len(text) != 1:
                raise DecodeError("$", f"expected one value, got {len(text)}")
            source = text[0]
        try:
            for items in sets if isinstance(source, list) and len(source) > MAX_EQUAL else ():
                KeyChecker().check(msgspec.convert(source, items, strict=False), in_set=True)
            value = msgspec.convert(source, type_, strict=False)
        except Exception as error:
            raise _with_text(decode_error(error, "json"), source) from error
        if value is None:  # msgspec reads the text "null" as None; in a URL it is only a text
            raise DecodeError("$", f"expected a value, got {source!r}")
        if shape.floats:
            _refuse_non_finite(value)
        return value

    return read


def why_ambiguous(type_: Any) -> str | None:
    """Why the text of a value may be read back as another value of the type, None if it cannot.

    `5` and `"5"` are the same text, and so are `true` and `"true"`.
    """
    members = list(_members(inspect.type_info(type_)))
    items = [_scalars(_members(item)) for member in members for item in _items(member)]
    return next((reason for each in (_scalars(members), *items) if (reason := _why_alike(each))), None)


def _why_alike(scalars: list[inspect.Type]) -> str | None:
    """Why values of different alternatives may be the same text, None if they cannot."""

    def has(kind: Any) -> bool:
        return any(isinstance(each, kind) for each in scalars)

    several = len(scalars) > 1
    named = [value for each in scalars for value in _named_values(each)]
    texts = [str(value) for value in named]
    others = [read for kind, read in _READERS.items() if has(kind)]
    reason = None
    if several and has(inspect.StrType):
        reason = "is a union with str, and 1 and '1' are the same text"
    elif several and has(_Bytes):
        reason = "is a union with bytes, whose text (base64) may be that of another value"
    elif has(inspect.DecimalType) and has(inspect.IntType | inspect.FloatType):
        reason = "is a union of Decimal and another number, and 1 and Decimal('1') are the same text"
    elif any(isinstance(value, bool) for value in named):
        reason = "is a Literal of bool, which is not read from text"
    elif len(set(texts)) < len(texts) or any(
        _reads(read, value) for value in named if isinstance(value, str) for read in others
    ):
        reason = "has a value whose text may be that of another value"
    return reason


def _named_values(info: inspect.Type) -> Iterable[Any]:
    """The values of a type that has only certain ones."""
    if isinstance(info, inspect.LiteralType):
        return info.values
    return [member.value for member in info.cls] if isinstance(info, inspect.EnumType) else ()


def _reads(type_: type, text: str) -> bool:
    try:
        msgspec.convert(text, type_, strict=False)
    except msgspec.ValidationError:
        return False
    return True


def takes_lists(type_: Any) -> bool:
    """Whether a value may consist of several texts."""
    return any(isinstance(member, _Arrays) for member in _members(inspect.type_info(type_)))


def takes_single(type_: Any) -> bool:
    """Whether a value may be a single text."""
    return bool(_scalars(_members(inspect.type_info(type_))))


def reads_only_text(type_: Any) -> bool:
    """Whether a value, or an item of a list, may be of any type: what is read then is a text."""
    members = list(_members(inspect.type_info(type_)))
    items = [part for member in members for item in _items(member) for part in _members(item)]
    return any(isinstance(each, inspect.AnyType) for each in (*members, *items))


def to_text(value: Any) -> str | list[str] | None:
    """A value as text, None if it is left out.

    Raises:
        EncodeError: It has no form as text.
    """
    try:
        plain = msgspec.to_builtins(value if type(value) in {str, int, float} else with_exact_offsets(value))
    except Exception as error:
        raise encode_error(error, "$") from error
    if plain is None:
        return None
    if isinstance(plain, list | tuple):
        return [_scalar(item, f"$[{index}]") for index, item in enumerate(cast("Iterable[Any]", plain))]
    return _scalar(plain, "$")


def _scalar(plain: Any, path: str) -> str:
    match plain:
        case bool():
            return "true" if plain else "false"
        case float() if not isfinite(plain):
            raise EncodeError(path, f"{plain} has no form as text")
        case str() | float():
            return str(plain)
        case int() if abs(plain) < _LARGEST:
            return str(plain)
        case _:
            kind = "so large an int" if isinstance(plain, int) else type(plain).__name__
            raise EncodeError(path, f"{kind} has no form as text")


def _members(info: inspect.Type) -> Iterator[inspect.Type]:
    """The alternatives of a union, or the type itself."""
    if isinstance(info, inspect.UnionType):
        yield from info.types
    else:
        yield info


def _scalars(infos: Iterable[inspect.Type]) -> list[inspect.Type]:
    return [each for each in infos if not isinstance(each, _Arrays | inspect.NoneType)]


def _list_of(item: Any) -> Any:
    return list[item]


def _items(info: inspect.Type) -> tuple[inspect.Type, ...]:
    """The types of the items of a list or tuple."""
    if isinstance(info, inspect.TupleType):
        return info.item_types
    return (info.item_type,) if isinstance(info, _Lists) else ()


def _require_text(info: inspect.Type) -> None:
    """Refuse types that have no form as text: objects, and lists of anything but scalars.

    Raises:
        TravelError: The type is one of them.
    """
    for part in (info, *(member for item in _items(info) for member in _members(item))):
        if isinstance(part, _NoText) or (part is not info and isinstance(part, _Arrays)):
            raise TravelError(f"{type(part).__name__.removesuffix('Type').lower()} has no form as text")


def _with_text(error: DecodeError, source: str | list[str]) -> DecodeError:
    """The error with the text in its reason, in place of "got str"."""
    reason = error.reason.removesuffix(", got str")
    if isinstance(source, list):
        item = _ITEM.match(error.path)
        source = source[int(item[1])] if item else ""
    if reason == error.reason or not source:
        return error
    shown = source if len(source) <= _SHOWN else source[:_SHOWN] + "..."
    return DecodeError(error.path, f"{reason}, got {shown!r}")


def _refuse_non_finite(value: Any) -> None:
    """Refuse NaN and infinity, as in JSON."""
    several = isinstance(value, list | tuple | set | frozenset)
    for item in cast("Iterable[Any]", value if several else (value,)):
        if isinstance(item, float) and not isfinite(item):
            raise DecodeError("$", f"expected a finite number, got {item}")
