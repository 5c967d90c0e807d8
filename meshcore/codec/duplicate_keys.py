"""Refuses JSON in which an object has a duplicate key.

Decoders silently take the last value. A gateway that checks the call may take the first, and so let pass a value that
it never saw. RFC 8259 calls the result unpredictable, RFC 7493 (I-JSON) forbids it. msgpack has no such rule and is
not written by hand; checking it would make each of its calls 3 % slower.

The fast check decodes the body without types and encodes it again: compact JSON without duplicate keys gives the same
bytes. Bodies of our own clients pass it, in 2 to 3 us for 7 objects. Other bodies are read once more, key by key, at a
third of the speed.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any

import msgspec

from meshcore.core.suggest import shown

_LARGE = 2**16  # bytes; in a larger body the path is not searched: a hostile one would take a second
_LONGEST = 40  # characters of a key in a path; longer ones make it unreadable

_read, _write = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


class DuplicateKeyError(ValueError):
    """An object has a duplicate key.

    Attributes:
        path: The path of the object, without `$`: `.lines[2]`. Empty if the body is large.
        reason: Names the key.
    """

    def __init__(self, path: str, key: str) -> None:
        """Keep the place and the key."""
        super().__init__(path, key)
        self.path = path
        self.reason = f"key {shown(key)} comes twice"


class _Object(list[tuple[str, Any]]):
    """The members of an object in their order, duplicates included."""


def check_duplicate_keys(data: bytes) -> None:
    """Refuse a duplicate key in a body that was decoded as JSON.

    Raises:
        DuplicateKeyError: There is one.
    """
    try:
        if _write(_read(data)) == data:
            return
    except (ValueError, RecursionError):  # in a part that the typed decoder skipped
        pass
    # Python's decoder reads the parts that msgspec skipped, too. Numbers are ignored, because it refuses some of them.
    text = data.decode("utf-8", "surrogateescape")
    load = partial(json.loads, text, parse_int=_ignore, parse_float=_ignore, parse_constant=_ignore)
    try:
        load(object_pairs_hook=_distinct)
    except DuplicateKeyError:
        if len(data) <= _LARGE:
            _raise_with_path(load(object_pairs_hook=_Object))
        raise


def _ignore(_: str) -> None: ...


def _distinct(pairs: list[tuple[str, Any]], path: str = "") -> None:
    if len(dict(pairs)) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise DuplicateKeyError(path, next(key for key, count in counts.items() if count > 1))


def _raise_with_path(node: Any, path: str = "") -> None:
    """Raise the error for the first duplicate key, with its path."""
    if isinstance(node, _Object):
        _distinct(node, path)
    for key, inner in node if isinstance(node, _Object) else enumerate(node):
        if isinstance(inner, list):
            _raise_with_path(inner, path + _step(key))


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if key.isidentifier() and len(key) <= _LONGEST else "[...]"
