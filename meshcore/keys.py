"""Refuses a call in which an object has a key twice.

Decoders take the last one and say nothing. But who checks a call on its way may take the first, and then lets pass
what it never saw: RFC 8259 calls the result unpredictable, RFC 7493 (I-JSON) forbids it.

Decoding without types and encoding again gives the very same bytes, unless a key comes twice or somebody writes less
compactly than we do. That settles at C speed (2 to 3 us for 7 objects) all that our own clients write. The rest is read
once more with an eye on the keys: JSON at a third of the speed, msgpack in Python, as slowly as in `guard`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from meshcore.guard import CONTAINERS, FIXED, SIZED
from meshcore.suggest import shown

_FARTHEST = 10_000  # objects and arrays in which the place is looked for: a hostile body has millions
_LONGEST = 40  # characters of a key as a step of a path, which shall stay readable


class RepeatedKeyError(ValueError):
    """An object has a key twice.

    Attributes:
        path: Of the object, without `$`: `.lines[2]`; empty, for the whole, if it is too far inside.
        reason: Names the key.
    """

    def __init__(self, path: str, key: str | bytes) -> None:
        """Keep the place and the key; bytes are msgpack."""
        super().__init__(path, key)
        self.path = path
        self.reason = f"key {_named(key)} comes twice"


class _Object(list[tuple[Any, Any]]):
    """An object with all that stands in it, in order."""


def check_json_keys(data: bytes) -> None:
    """Look for a key that comes twice in what a decoder has read as JSON.

    Raises:
        RepeatedKeyError: There is one.
    """
    if _comes_back(msgspec.json.decode, msgspec.json.encode, data):
        return
    # Unlike a decoder of ours this one does not check the text that nobody reads; and numbers do not matter here.
    text = data.decode("utf-8", "surrogateescape")
    load = partial(json.loads, text, parse_int=_ignore, parse_float=_ignore, parse_constant=_ignore)
    try:
        load(object_pairs_hook=_distinct)
    except RepeatedKeyError as error:
        raise _placed(error, load(object_pairs_hook=_Object)) from None


def check_msgpack_keys(data: bytes) -> None:
    """Look for a key that comes twice in what a decoder has read as msgpack.

    Raises:
        RepeatedKeyError: There is one.
    """
    if _comes_back(msgspec.msgpack.decode, msgspec.msgpack.encode, data):
        return
    tree, _ = _read(data, 0)
    for path, node in _nodes(tree):
        if isinstance(node, _Object):
            _distinct(node, path)


def _comes_back(decode: Any, encode: Any, data: bytes) -> bool:
    try:
        return bool(encode(decode(data)) == data)
    except (ValueError, TypeError, RecursionError):  # what only a type can read, such as a list as a key
        return False


def _ignore(_: str) -> None:
    """Numbers, of which Python refuses to read the longest."""


def _distinct(pairs: list[tuple[Any, Any]], path: str = "") -> None:
    if len(dict(pairs)) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise RepeatedKeyError(path, next(key for key, count in counts.items() if count > 1))


def _placed(error: RepeatedKeyError, tree: Any) -> RepeatedKeyError:
    """The same with its place."""
    for _, (path, node) in zip(range(_FARTHEST), _nodes(tree), strict=False):
        if isinstance(node, _Object):
            try:
                _distinct(node, path)
            except RepeatedKeyError as found:
                return found
    return error


def _nodes(tree: Any) -> Iterator[tuple[str, Any]]:
    """All objects and arrays, from the outside, with their places."""
    open_ = [("", tree)]
    while open_:
        path, node = open_.pop()
        yield path, node
        steps = node if isinstance(node, _Object) else enumerate(node) if isinstance(node, list) else ()
        open_ += [(path + _step(key, node), inner) for key, inner in steps if isinstance(inner, list)]


def _step(key: object, of: object) -> str:
    if not isinstance(of, _Object):
        return f"[{key}]"
    return f".{key}" if isinstance(key, str) and key.isidentifier() and len(key) <= _LONGEST else "[...]"


def _read(data: bytes, position: int) -> tuple[Any, int]:
    """The objects and arrays of msgpack from there on, and where it ends; what is neither is None."""
    head = data[position]
    if head in CONTAINERS:
        width, factor = CONTAINERS[head]
        size = int.from_bytes(data[position + 1 : position + 1 + width])
        position += 1 + width
    elif 0x80 <= head < 0xA0:  # noqa: PLR2004 - fixmap and fixarray
        size, factor = head & 0x0F, 1 + (head < 0x90)  # noqa: PLR2004
        position += 1
    elif head in SIZED:
        width, gap = SIZED[head]
        return None, position + 1 + width + gap + int.from_bytes(data[position + 1 : position + 1 + width])
    else:
        return None, position + FIXED[head]
    if factor == 1:
        array: list[Any] = []
        for _ in range(size):
            inner, position = _read(data, position)
            array.append(inner)
        return array, position
    object_ = _Object()
    for _ in range(size):
        _, end = _read(data, position)
        key = _key(data[position:end])
        inner, position = _read(data, end)
        object_.append((key, inner))
    return object_, position


def _named(key: str | bytes) -> str:
    if isinstance(key, str):
        return shown(key)
    try:
        return repr(msgspec.msgpack.decode(key))
    except (ValueError, TypeError):
        return f"of {len(key)} bytes"


def _key(data: bytes) -> str | bytes:
    """A key: a text, or else its shortest form, since a number can be written at several lengths."""
    try:
        key = msgspec.msgpack.decode(data)
        return key if isinstance(key, str) else msgspec.msgpack.encode(key)
    except (ValueError, TypeError):  # nothing that can be a key, unless a type says how
        return data
