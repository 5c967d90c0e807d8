"""Fingerprints of values: equal values have the same one, however they were written.

`1`, `1.0` and `Decimal("1.00")` are equal, and so are two forms of the same moment, and sets and dicts in any order.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pickle
from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any, cast

import msgspec

SIZE = 16
"""Bytes of a fingerprint."""

_A_DAY = dt.date(2000, 1, 1)


def fingerprint(value: object) -> bytes:
    """The fingerprint of a value that can be an argument.

    Raises:
        TypeError: it contains what is no value.
        RecursionError: it contains itself.
    """
    return blake2b(_form(value), digest_size=SIZE).digest()


def digest_of(data: bytes) -> bytes:
    """The fingerprint of bytes as they are."""
    return blake2b(data, digest_size=SIZE).digest()


def _form(value: object) -> bytes:
    """Bytes that only equal values have."""
    match value:
        case None | bool():
            form = repr(value).encode()
        case enum.Enum():
            form = _form(value.value)
        case str():
            form = b"s%d:%b" % (len(value), value.encode(errors="surrogatepass"))
        case bytes() | bytearray() | memoryview() | msgspec.Raw():
            form = b"b" + digest_of(bytes(cast("bytes", value)))
        case int() | float() | Decimal():
            form = _number(value)
        case dt.datetime() | dt.time():
            form = _time(value)
        case list() | tuple():
            form = b"[%b]" % b",".join(map(_form, cast("Iterable[object]", value)))
        case set() | frozenset():
            form = b"{%b}" % b",".join(sorted(map(fingerprint, cast("Iterable[object]", value))))
        case dict():
            form = _mapping(cast("Mapping[object, object]", value))
        case _:
            form = _other(value)
    return form


def _mapping(value: Mapping[object, object]) -> bytes:
    pairs = (fingerprint(key) + fingerprint(item) for key, item in value.items())
    return b"m{%b}" % b",".join(sorted(pairs))


def _number(value: float | Decimal) -> bytes:
    """Decimal digits without zeros at the end, and the exponent: computing with either could take long."""
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):  # infinity and NaN
        return b"n" + str(number).encode()
    text = "".join(map(str, digits))
    kept = text.rstrip("0").lstrip("0")
    if not kept:
        return b"n0"
    return b"n%d:%b:%d" % (sign, kept.encode(), exponent + len(text) - len(text.rstrip("0")))


def _time(value: dt.datetime | dt.time) -> bytes:
    kind = b"d" if isinstance(value, dt.datetime) else b"t"
    moment = value if isinstance(value, dt.datetime) else dt.datetime.combine(_A_DAY, value)
    if moment.utcoffset() is None:
        return kind + moment.isoformat().encode()
    try:
        return kind + moment.astimezone(dt.UTC).isoformat().encode()
    except OverflowError:  # at the ends of the calendar
        return kind + moment.isoformat().encode()


def _other(value: object) -> bytes:
    """Of an object: its class and its fields. What has none of the usual kinds says itself what it consists of."""
    cls = type(value)
    if isinstance(value, msgspec.Struct):
        names: Iterable[str] = value.__struct_fields__
    elif dataclasses.is_dataclass(value):
        names = (field.name for field in dataclasses.fields(value))
    elif hasattr(cls, "__attrs_attrs__"):
        names = (field.name for field in cast("Any", cls).__attrs_attrs__)
    elif hasattr(cls, "__pydantic_fields__"):
        names = (*value.__dict__, *(getattr(value, "__pydantic_extra__", None) or ()))
    else:
        return b"o" + digest_of(pickle.dumps(value))
    fields = {name: getattr(value, name, None) for name in names}
    return b"c" + f"{cls.__module__}.{cls.__qualname__}".encode() + _mapping(cast("Mapping[object, object]", fields))
