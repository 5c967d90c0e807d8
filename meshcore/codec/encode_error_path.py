"""Finds the path of the part of a value that cannot be encoded: msgspec says what it is, but not where.

Runs only after encoding has failed, or may have written a NaN as null.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any, cast

import msgspec

from meshcore.codec.errors import EncodeError
from meshcore.codec.packed_models import NON_FINITE, pack_hook
from meshcore.codec.pydantic_models import encode_hook, is_model

_MAX_STEPS = 1000  # for a value that contains itself
_pack = msgspec.msgpack.Encoder(enc_hook=pack_hook).encode


def find_non_finite(value: Any) -> None:
    """Refuse NaN and infinity, which JSON can only write as null.

    This must be fast, since null is common (`None`). Packing the value and searching the bytes takes 1.6 us for 7
    nodes; walking through them takes 54.

    Raises:
        EncodeError: There is a NaN or an infinity, with its path.
    """
    try:
        if not NON_FINITE.search(_pack(value)):  # other data may look the same; then nothing is found below
            return
    except OverflowError:  # an integer of more than 64 bits, which JSON can write
        pass
    for path, number in _floats(msgspec.to_builtins(value, enc_hook=_encode_hook_or_raw), "$"):
        if not isfinite(number):
            raise EncodeError(path, f"{number} does not exist in JSON")


def _encode_hook_or_raw(value: Any) -> Any:
    """As `encode_hook`, but skips `msgspec.Raw`: it is encoded already, so it contains no NaN."""
    return None if isinstance(value, msgspec.Raw) else encode_hook(value)


def find_unencodable(value: Any, dump: Callable[[Any], bytes]) -> str:
    """The path of the innermost part that cannot be encoded."""
    path = "$"
    for _ in range(_MAX_STEPS):
        try:
            found = next(((step, part) for step, part in _parts(value) if _fails(part, dump)), None)
        except Exception:  # noqa: BLE001 - reading the user's object may raise anything
            return path
        if found is None:
            return path
        path += found[0]
        value = found[1]
    return "$"


def _fails(value: Any, dump: Callable[[Any], bytes]) -> bool:
    try:
        dump(value)
    except RecursionError:
        return False  # too deep or circular: the fault is the whole value's
    except Exception:  # noqa: BLE001 - any exception means that it cannot be encoded
        return True
    return False


def _floats(value: Any, path: str) -> Iterator[tuple[str, float]]:
    """All floats in plain values, keys included, each with its path."""
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, dict | list | tuple):
        if isinstance(value, dict):
            for key in cast("dict[Any, Any]", value):  # type: ignore[redundant-cast] # for pyright
                yield from _floats(key, path)
        for step, part in _parts(value):
            yield from _floats(part, path + step)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with its step in the path."""
    if isinstance(value, Mapping):
        for key, part in cast("Mapping[Any, Any]", value).items():  # type: ignore[redundant-cast] # for pyright
            yield (f".{key}" if isinstance(key, str) else f"[{key!r}]"), part
    elif isinstance(value, list | tuple | AbstractSet):
        for index, part in enumerate(cast("Iterable[Any]", value)):
            yield f"[{index}]", part
    else:
        for name, written in fields_of(value):
            yield f".{written}", getattr(value, name, None)


def fields_of(value: Any) -> Iterator[tuple[str, str]]:
    """The fields of an object: the attribute's name, and the name on the wire."""
    if isinstance(value, msgspec.Struct):
        yield from zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, field.name) for field in fields(value))
    elif is_model(model := cast("object", type(value))):
        yield from ((name, name) for name, field in model.model_fields.items() if field.exclude is not True)
        yield from ((name, name) for name in getattr(value, "__pydantic_extra__", None) or ())
    else:
        yield from ((field.name, field.name) for field in getattr(model, "__attrs_attrs__", ()))
