"""Finds the keys of large maps in the bytes of msgpack, for untyped values.

msgspec makes dicts of these maps, with keys of any type. In JSON all keys are texts, whose hashes are salted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from meshcore.codec.depth import CONTAINERS, FIXED, SIZED
from meshcore.codec.flooding.key_hashes import MAX_EQUAL

_LARGE_MAPS = frozenset({0xDE, 0xDF})  # heads of maps with more than 15 entries
_FIRST_SMALL, _FIRST_ARRAY, _LAST_SMALL = 0x80, 0x90, 0x9F  # heads of containers with up to 15 entries or items
_NEVER_USED = 0xC1
_TEXTS = frozenset({*range(0xA0, 0xC0), 0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB})  # and bytes

_read, _read_list = msgspec.msgpack.Decoder().decode, msgspec.msgpack.Decoder(list[Any]).decode


def keys_of_large_maps(data: bytes) -> Iterator[list[Any]]:
    """The keys of each large map, without texts.

    The last ones may be incomplete if the body is malformed: the decoder inserts the keys before it finds that.
    """
    if b"\xde" not in data and b"\xdf" not in data:
        return
    position, end = 0, len(data)
    left = 1  # items left in this container
    starts: list[int] | None = None  # the places of all items in it, if it is a large map
    outer: list[tuple[int, list[int] | None]] = []
    while position < end:
        while not left and outer:
            if starts is not None:
                yield _keys(data, [*starts, position])
            left, starts = outer.pop()
        head = data[position]
        if not left or head == _NEVER_USED:
            break
        if starts is not None:
            starts.append(position)
        left -= 1
        if head in CONTAINERS or _FIRST_SMALL <= head <= _LAST_SMALL:
            outer.append((left, starts))
            width, factor = CONTAINERS.get(head, (0, 2 if head < _FIRST_ARRAY else 1))
            count = int.from_bytes(data[position + 1 : position + 1 + width]) if width else head & 0x0F
            left, starts = count * factor, list[int]() if head in _LARGE_MAPS and count > MAX_EQUAL else None
            position += 1 + width
        else:
            width, gap = SIZED.get(head, (0, FIXED[head] - 1))
            position += 1 + width + gap + int.from_bytes(data[position + 1 : position + 1 + width])
    for each in (starts, *(starts for _, starts in reversed(outer))):
        if each is not None:
            yield _keys(data, [*each, min(position, end)])


def _keys(data: bytes, starts: list[int]) -> list[Any]:
    """The keys that begin at every second place and end at the next one."""
    raws = [data[start:end] for start, end in zip(starts[::2], starts[1::2], strict=False) if data[start] not in _TEXTS]
    try:
        return [as_key(key) for key in _read_list(b"\xdd" + len(raws).to_bytes(4) + b"".join(raws))]
    except (ValueError, RecursionError):  # one of them is malformed: the decoder stops there
        return [as_key(key) for key in _until_malformed(raws)]


def _until_malformed(raws: list[bytes]) -> Iterator[Any]:
    for raw in raws:
        try:
            yield _read(raw)
        except (ValueError, RecursionError):
            return


def as_key(value: Any) -> Any:
    """A decoded value as a key: msgspec reads arrays there as tuples."""
    return tuple(map(as_key, cast("list[Any]", value))) if isinstance(value, list | tuple) else value
