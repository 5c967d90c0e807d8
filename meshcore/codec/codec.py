"""Values to bytes and back, as JSON or msgpack: typed, validated, and safe against any body.

An encoder and a decoder are built once per method and then called. Whatever the bytes, a decoder returns a value of its
type or raises `DecodeError`; whatever the value, an encoder returns bytes or raises `EncodeError`.

Both formats are written and read by msgspec. Measured in us, CPython 3.13, on trees of 7 nodes (`python -m
benchmarks.codec`); "rich" nodes hold Decimal, datetime, UUID and an enum instead of str, int and float:

    | tree, 516 bytes of JSON  | msgspec JSON  | msgspec msgpack | ormsgpack                              |
    |--------------------------|---------------|-----------------|----------------------------------------|
    | dataclass, encode        | 1.4           | 1.2             | 1.6                                    |
    | dataclass, typed decode  | 3.5           | 3.3             | 5.6 (untyped, then `msgspec.convert`)  |
    | rich, encode             | 3.6           | 3.4             | 5.7                                    |
    | rich, typed decode       | 8.1           | 7.9             | 12.1                                   |
    | pydantic model, encode   | (itself) 2.5  | (dumped) 4.7    | 1.7, but not what the model says       |
    | pydantic model, decode   | (itself) 6.5  | 7.9             | 7.9                                    |

ormsgpack wins only where pydantic models are packed, and there it writes excluded fields and ignores aliases and
serializers (see `models`): so it is not used. What this module adds to the bare library is 0.06 us, and 0.6 us where
the depth of a body has to be checked (see `guard`), and 0.2 us where JSON is searched for lost floats.
Calls in JSON are also searched for keys that come twice (see `keys`), which costs 2 to 3 us for such a tree.

Does a value fit its declared type? Encoding alone does not ask: msgspec writes what it finds. `msgspec.convert(value,
type)` costs 0.4 us and does not look inside an instance of the right class; converting its plain form costs 5.3 us;
decoding what was encoded costs 3.2 us and finds all that the other side would refuse. So `validate=True` does that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from meshcore.codec.depth import check_json, check_msgpack
from meshcore.codec.errors import DecodeError, EncodeError, TravelError, decode_error, encode_error
from meshcore.codec.json_keys import check_json_keys
from meshcore.codec.pydantic_models import dump as dump_model
from meshcore.codec.pydantic_models import is_model, plain, revive
from meshcore.codec.pydantic_models import load as load_model
from meshcore.codec.travel import shape_of
from meshcore.codec.unencodable import find_non_finite, find_unencodable

__all__ = ["JSON", "MSGPACK", "Codec", "DecodeError", "EncodeError", "Limits", "TravelError"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a body may ask of its decoder. Its size is limited by who receives it.

    Attributes:
        max_depth: Containers that may be open at one place, where the type itself does not bound that.
    """

    max_depth: int = 128


_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """One of the two formats: `JSON` or `MSGPACK`.

    Attributes:
        name: `json` or `msgpack`, as in the names of channels.
        content_type: The media type of a body.
    """

    name: str
    content_type: str
    _dump: Callable[[Any], bytes]
    _loader: Callable[[Any], Callable[[bytes], Any]]
    _check: Callable[[bytes, int], None]

    def encoder(self, type_: Any, *, validate: bool = False) -> Callable[[Any], bytes]:
        """A function that writes values of a type.

        Args:
            type_: The declared type.
            validate: Refuse what the other side would refuse, by reading back what was written.

        Returns:
            The function. It raises `EncodeError`, and nothing else.

        Raises:
            TravelError: Values of this type cannot be sent.
        """
        shape = shape_of(type_)
        dump = partial(dump_model, type_) if self is JSON and is_model(type_) else self._dump
        # JSON has no NaN and no infinity: msgspec and pydantic write null, and say nothing.
        watched = self is JSON and shape.floats
        load = self.decoder(type_) if validate else None

        def encode(value: Any) -> bytes:
            try:
                data = dump(value)
                if watched and data.rfind(b"null") >= 0:  # 0.2 us; `b"null" in data` is 0.6
                    find_non_finite(value)
            except Exception as error:
                raise encode_error(error, find_unencodable(value, dump)) from error
            if load is not None:
                try:
                    load(data)
                except DecodeError as error:
                    raise EncodeError(error.path, error.reason) from error
            return data

        return encode

    def decoder(self, type_: Any, limits: Limits = _LIMITS, *, unique: bool = False) -> Callable[[bytes], Any]:
        """A function that reads values of a type.

        Args:
            type_: The declared type.
            limits: What a body may ask for.
            unique: Refuse JSON in which an object has a key twice, of which a decoder takes the last (see `keys`).

        Returns:
            The function. It raises `DecodeError`, and nothing else.

        Raises:
            TravelError: Values of this type cannot be sent.
        """
        shape = shape_of(type_)
        load = partial(load_model, type_) if self is JSON and is_model(type_) else self._loader(type_)
        name, check, max_depth = self.name, self._check, limits.max_depth

        def decode(data: bytes) -> Any:
            try:
                return load(data)
            except Exception as error:
                raise decode_error(error, name, max_depth) from error

        def decode_unbounded(data: bytes) -> Any:
            try:
                check(data, max_depth)
                return load(data)
            except Exception as error:
                raise decode_error(error, name, max_depth) from error

        def decode_unique(data: bytes) -> Any:
            try:
                check(data, max_depth)  # of what the type does not know and skips, too: the next check reads it all
                value = load(data)
                check_json_keys(data)
            except Exception as error:
                raise decode_error(error, name, max_depth) from error
            return value

        if unique and self is JSON and shape.keyed:
            return decode_unique
        return decode if shape.bounded else decode_unbounded


def _json_loader(type_: Any) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(type_, dec_hook=revive).decode


def _msgpack_loader(type_: Any) -> Callable[[bytes], Any]:
    return msgspec.msgpack.Decoder(type_, dec_hook=revive, ext_hook=_refuse_extension).decode


def _refuse_extension(code: int, _: memoryview) -> Any:
    """JSON has no extension types, so `Any` does not mean them either; timestamps do not come here."""
    raise ValueError(f"unknown msgpack extension {code}")


JSON: Final = Codec("json", "application/json", msgspec.json.Encoder(enc_hook=plain).encode, _json_loader, check_json)
MSGPACK: Final = Codec(
    "msgpack", "application/msgpack", msgspec.msgpack.Encoder(enc_hook=plain).encode, _msgpack_loader, check_msgpack
)
