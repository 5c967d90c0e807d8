"""Refuses JSON in which an object has a key twice.

Decoders take the last one and say nothing. But who checks a call on its way may take the first, and then lets pass
what it never saw: RFC 8259 calls the result unpredictable, RFC 7493 (I-JSON) forbids it. msgpack has no such rule, and
is written by libraries, not by hand; to look there as well would make each of its calls 3 % slower.

Decoding without types and encoding again gives the very same bytes, unless a key comes twice or somebody writes less
compactly than we do. That settles at C speed (2 to 3 us for 7 objects) all that our own clients write. The rest is read
once more with an eye on the keys, at a third of the speed.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any

import msgspec

from meshcore.core.suggest import shown

_LARGE = 2**16  # bytes; in a larger body nobody looks for the place, which takes a second for a hostile one
_LONGEST = 40  # characters of a key as a step of a path, which shall stay readable

_read, _write = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


class RepeatedKeyError(ValueError):
    """An object has a key twice.

    Attributes:
        path: Of the object, without `$`: `.lines[2]`; empty, for the whole, if that is large.
        reason: Names the key.
    """

    def __init__(self, path: str, key: str) -> None:
        """Keep the place and the key."""
        super().__init__(path, key)
        self.path = path
        self.reason = f"key {shown(key)} comes twice"


class _Object(list[tuple[str, Any]]):
    """An object with all that stands in it, in order."""


def check_json_keys(data: bytes) -> None:
    """Look for a key that comes twice in what a decoder has read as JSON.

    Raises:
        RepeatedKeyError: There is one.
    """
    try:
        if _write(_read(data)) == data:
            return
    except (ValueError, RecursionError):  # in what a type let pass unread
        pass
    # Python's decoder checks the text even where nobody reads it; and numbers, of which it refuses some, do not matter.
    text = data.decode("utf-8", "surrogateescape")
    load = partial(json.loads, text, parse_int=_ignore, parse_float=_ignore, parse_constant=_ignore)
    try:
        load(object_pairs_hook=_distinct)
    except RepeatedKeyError:
        if len(data) <= _LARGE:
            _place(load(object_pairs_hook=_Object))
        raise


def _ignore(_: str) -> None: ...


def _distinct(pairs: list[tuple[str, Any]], path: str = "") -> None:
    if len(dict(pairs)) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise RepeatedKeyError(path, next(key for key, count in counts.items() if count > 1))


def _place(node: Any, path: str = "") -> None:
    """Raise the first of those that there are, with its place."""
    if isinstance(node, _Object):
        _distinct(node, path)
    for key, inner in node if isinstance(node, _Object) else enumerate(node):
        if isinstance(inner, list):
            _place(inner, path + _step(key))


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if key.isidentifier() and len(key) <= _LONGEST else "[...]"
