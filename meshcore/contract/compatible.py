"""Compares which values types, limits and defaults admit, to tell compatible changes from breaking ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UnsetType

from meshcore.contract.contract import Type

READABLE = frozenset(
    [("int", "float"), ("int", "decimal"), ("float", "decimal")]
    # These are text in JSON and in msgpack. In msgpack, datetimes and bytes are not.
    + [(kind, "str") for kind in ("uuid", "decimal", "date", "time", "timedelta")]
)
"""Pairs of kinds: the first is written, and can be read as the second. Tests check that of the codecs."""

_IMPLIED: Mapping[str, Callable[[Mapping[str, Any], Any], bool]] = {
    "ge": lambda known, limit: known.get("ge", known.get("gt", limit - 1)) >= limit,
    "gt": lambda known, limit: known.get("gt", limit - 1) >= limit or known.get("ge", limit) > limit,
    "le": lambda known, limit: known.get("le", known.get("lt", limit + 1)) <= limit,
    "lt": lambda known, limit: known.get("lt", limit + 1) <= limit or known.get("le", limit) < limit,
    "min_length": lambda known, limit: known.get("min_length", 0) >= limit,
    "max_length": lambda known, limit: known.get("max_length", limit + 1) <= limit,
    "max_digits": lambda known, limit: known.get("max_digits", limit + 1) <= limit,
    "decimal_places": lambda known, limit: known.get("decimal_places", limit + 1) <= limit,
}
"""Whether known limits imply another limit."""


def default_change(old: Any, new: Any) -> str:
    """Return how the default of an optional field or parameter has changed; empty if it has not."""
    if old.required or new.required or _same(old.default, new.default):
        return ""
    return f"default is now {_shown(new.default)}, was {_shown(old.default)}"


def _same(old: Any, new: Any) -> bool:
    """Return whether two defaults have the same JSON form. 1 and True have not."""
    if isinstance(old, UnsetType) or isinstance(new, UnsetType):
        return old is new
    return msgspec.json.encode(old, order="deterministic") == msgspec.json.encode(new, order="deterministic")


def _shown(default: Any) -> str:
    return "a new value for each call" if isinstance(default, UnsetType) else repr(default)


def members_of(type_: Type) -> tuple[Type, ...]:
    """Return the members of a union; of any other type, the type."""
    return type_.parts if type_.kind == "union" else (type_,)


def disjoint(sets: Iterable[frozenset[int | str]]) -> bool:
    """Return whether no two of the sets have a common member."""
    several = list(sets)
    return len(frozenset[int | str]().union(*several)) == sum(map(len, several))


def within(known: Mapping[str, Any], limits: Mapping[str, Any]) -> bool:
    """Return whether all values within the known limits are within the others."""
    try:
        return all(
            known.get(name) == limit or (name in _IMPLIED and _IMPLIED[name](known, limit))
            for name, limit in limits.items()
        )
    except TypeError:  # bounds of times are text, and are not compared
        return False
