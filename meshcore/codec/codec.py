"""The JSON and msgpack codecs: encode and decode typed values, safely for any body.

An encoder and a decoder are built once per method. For any bytes, a decoder returns a value of its type or raises
`DecodeError`. For any value, an encoder returns bytes or raises `EncodeError`.

msgspec does the work for both formats. Times in us, CPython 3.13, trees of 7 nodes
(`python -m benchmarks.calls.codec`).
"Rich" nodes hold Decimal, datetime, UUID and an enum instead of str, int and float:

    | tree, 516 bytes of JSON  | msgspec JSON  | msgspec msgpack | ormsgpack                              |
    |--------------------------|---------------|-----------------|----------------------------------------|
    | dataclass, encode        | 1.4           | 1.2             | 1.6                                    |
    | dataclass, typed decode  | 3.5           | 3.3             | 5.6 (untyped, then `msgspec.convert`)  |
    | rich, encode             | 3.6           | 3.4             | 5.7                                    |
    | rich, typed decode       | 8.1           | 7.9             | 12.1                                   |
    | pydantic model, encode   | (itself) 2.5  | (dumped) 4.7    | 1.7, but not what every model declares |
    | pydantic model, decode   | (itself) 6.5  | 7.9             | 7.9                                    |

ormsgpack is faster only for pydantic models, but it writes excluded fields and ignores aliases and serializers. So
plain models go through it, and other models through pydantic (see `packed_models`). Encoding a plain model of 7 nodes
as msgpack took 11.7 us when it was dumped first, and takes 3.1 us.

This module adds 0.06 us to the library, 0.6 us where the depth of a body is checked (see `depth`), and 0.2 us where
JSON is searched for floats that were written as null. Calls in JSON are also searched for duplicate keys (see
`duplicate_keys`), which costs 2 to 3 us for such a tree.

msgspec encodes without checking that a value fits its declared type. `msgspec.convert(value, type)` costs 0.4 us, but
does not look inside an instance of the right class. Converting its plain form costs 5.3 us. Decoding the encoded bytes
finds everything that the receiver would refuse. So that is what `validate=True` does. It costs 2.9 us; 1.6 us where
there are dataclasses, which are read as structs (see `quick_type`), and once more as themselves if these refuse them.
"""

import sys
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from meshcore.codec.depth import check_json, check_msgpack
from meshcore.codec.duplicate_keys import check_duplicate_keys
from meshcore.codec.encode_error_path import find_non_finite, find_unencodable
from meshcore.codec.errors import DecodeError, EncodeError, TravelError, decode_error, encode_error
from meshcore.codec.flooding.key_hashes import LARGE
from meshcore.codec.flooding.keyed_parts import key_guard
from meshcore.codec.items import check_json_items, check_msgpack_items
from meshcore.codec.offsets import inexact_offset_finder, may_have_offset, with_exact_offsets
from meshcore.codec.packed_models import pack_hook, unpack_hook
from meshcore.codec.pydantic_models import decode_hook, encode_hook, is_model, writes_constants
from meshcore.codec.pydantic_models import dump as dump_model
from meshcore.codec.pydantic_models import load as load_model
from meshcore.codec.read_back.quick_type import quick_type
from meshcore.codec.wire_types import Items, Shape, shape_of

__all__ = ["JSON", "MSGPACK", "Codec", "DecodeError", "EncodeError", "Limits", "TravelError"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a decoder. The size of a body is limited by its receiver.

    Attributes:
        max_depth: How deep a body may nest. Checked only if the type itself does not bound that.
        max_items: How many items a body may have, likewise (see `items`).
    """

    max_depth: int = 128
    max_items: int = 2**19


_LIMITS: Final = Limits()

# A value of just such a class fits its type once it could be written. Not to read it back saves 0.4 us.
_FITS: Final[dict[Any, type]] = {
    None: type(None),
    **{cls: cls for cls in (type(None), bool, str, bytes, float, Decimal, UUID)},
}


class _CheckItems(Protocol):
    def __call__(self, data: bytes, max_items: int, *, containers: bool) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """One of the two formats: `JSON` or `MSGPACK`.

    Attributes:
        name: `json` or `msgpack`, as in the names of channels.
        content_type: The media type of its bodies.
    """

    name: str
    content_type: str
    _dump: Callable[[Any], bytes]
    _loader: Callable[[Any], Callable[[bytes], Any]]
    _check_depth: Callable[[bytes, int], None]
    _check_items: _CheckItems

    def encoder(self, type_: Any, *, validate: bool = False) -> Callable[[Any], bytes]:
        """A function that encodes values of a type.

        Args:
            type_: The declared type.
            validate: Refuse what the receiver would refuse: decode what was encoded.

        Returns:
            The function. It raises `EncodeError`, and nothing else.

        Raises:
            TravelError: Values of this type cannot be sent.
        """
        shape = shape_of(type_)
        directly = self is JSON and is_model(type_) and not writes_constants(type_)
        dump = partial(dump_model, type_) if directly else self._dump
        # JSON has no NaN and no infinity: msgspec and pydantic write null without an error.
        may_lose_floats = self is JSON and shape.floats
        datetimes = self is JSON and shape.datetimes
        may_round = inexact_offset_finder(type_, datetimes=datetimes) if datetimes or shape.times else None
        load = self.decoder(type_) if validate else None
        check: Callable[[bytes], Any] | None = None  # made for the first result: clients encode none, and start sooner
        fits = _FITS.get(type_) if isinstance(type_, type | None) else None

        def encode_plain(value: Any) -> bytes:
            try:
                return dump(value)
            except Exception as error:
                raise encode_error(error, find_unencodable(value, dump)) from error

        def encode(value: Any) -> bytes:
            nonlocal check
            try:
                data = dump(value)
                if may_round is not None and may_round(value) and may_have_offset(data):
                    data = dump(with_exact_offsets(value))
                if may_lose_floats and data.rfind(b"null") >= 0:  # 0.2 us; `b"null" in data` takes 0.6
                    find_non_finite(value)
            except Exception as error:
                raise encode_error(error, find_unencodable(value, dump)) from error
            if load is not None and type(value) is not fits:
                check = check or self._quick(type_, load)
                try:
                    check(data)
                except DecodeError:
                    try:
                        load(data)  # says what is wrong, or takes it
                    except DecodeError as error:
                        raise EncodeError(error.path, error.reason) from error
            return data

        return encode_plain if may_round is None and not may_lose_floats and load is None else encode

    def _quick(self, type_: Any, load: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        """The fastest function that takes no body which the decoder of the type refuses."""
        quick = quick_type(type_)
        return load if quick is None else self.decoder(quick)

    def decoder(self, type_: Any, limits: Limits = _LIMITS, *, unique: bool = False) -> Callable[[bytes], Any]:
        """A function that decodes values of a type.

        Args:
            type_: The declared type.
            limits: The limits for bodies.
            unique: Refuse JSON with duplicate keys (see `duplicate_keys`). Otherwise the last one counts.

        Returns:
            The function. It raises `DecodeError`, and nothing else.

        Raises:
            TravelError: Values of this type cannot be sent.
        """
        shape = shape_of(type_)
        load = partial(load_model, type_) if self is JSON and is_model(type_) else self._loader(type_)
        unique = unique and self is JSON and shape.keyed
        check, large = self._checks(type_, shape, limits, unique=unique)
        max_depth, check_depth = limits.max_depth, self._check_depth

        def decode_bounded(data: bytes) -> Any:
            try:
                if len(data) > large:
                    check(data)
                return load(data)
            except Exception as error:  # noqa: BLE001 - `_again` raises it
                return self._again(error, data, decode_bounded, max_depth)

        def decode_unbounded(data: bytes) -> Any:
            try:
                if len(data) > large:
                    check(data)
                else:
                    check_depth(data, max_depth)
                return load(data)
            except Exception as error:  # noqa: BLE001 - `_again` raises it
                return self._again(error, data, decode_unbounded, max_depth)

        def decode_unique(data: bytes) -> Any:
            try:
                if len(data) > large:
                    check(data)
                else:
                    check_depth(data, max_depth)
                value = load(data)
                check_duplicate_keys(data)
            except Exception as error:  # noqa: BLE001 - `_again` raises it
                return self._again(error, data, decode_unique, max_depth)
            return value

        return decode_unique if unique else decode_bounded if shape.bounded else decode_unbounded

    def _again(self, error: Exception, data: bytes, decode: Callable[[bytes], Any], max_depth: int) -> Any:
        """What a body is without its byte order mark, which a parser of JSON may ignore (RFC 8259, 8.1).

        Raises:
            DecodeError: The body has none.
        """
        if self is JSON and data[: len(BOM_UTF8)] == BOM_UTF8 and not data.startswith(BOM_UTF8, len(BOM_UTF8)):
            return decode(data[len(BOM_UTF8) :])
        raise decode_error(error, self.name, max_depth) from error

    def _checks(self, type_: Any, shape: Shape, limits: Limits, *, unique: bool) -> tuple[Callable[[bytes], None], int]:
        """The checks of large bodies that a type needs, and the size in bytes above which a body is large.

        The items come first: the depth is found in a time that grows with them.
        """
        guard = key_guard(type_, decode_hook if self is JSON else unpack_hook, json=self is JSON)
        # The search for duplicate keys reads parts that the decoder skips.
        items = Items.CONTAINERS if unique and shape.items is Items.NONE else shape.items
        max_items, counts, containers = limits.max_items, items is not Items.NONE, items is Items.CONTAINERS
        deep = unique or not shape.bounded
        check_items, check_depth = self._check_items, self._check_depth

        def check(data: bytes) -> None:
            if counts:
                check_items(data, max_items, containers=containers)
            if deep:
                check_depth(data, limits.max_depth)
            if guard is not None:
                guard(data)

        return check, min(LARGE if guard is not None else sys.maxsize, max_items if counts else sys.maxsize)


def _json_loader(type_: Any) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(type_, dec_hook=decode_hook).decode


def _msgpack_loader(type_: Any) -> Callable[[bytes], Any]:
    return msgspec.msgpack.Decoder(type_, dec_hook=unpack_hook, ext_hook=_refuse_extension).decode


def _refuse_extension(code: int, _: memoryview) -> Any:
    """Refuse msgpack extensions, which JSON does not have. Timestamps are decoded before this is called."""
    raise ValueError(f"unknown msgpack extension {code}")


JSON: Final = Codec(
    "json",
    "application/json",
    msgspec.json.Encoder(enc_hook=encode_hook).encode,
    _json_loader,
    check_json,
    check_json_items,
)
MSGPACK: Final = Codec(
    "msgpack",
    "application/msgpack",
    msgspec.msgpack.Encoder(enc_hook=pack_hook).encode,
    _msgpack_loader,
    check_msgpack,
    check_msgpack_items,
)
