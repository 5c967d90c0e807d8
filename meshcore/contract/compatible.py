"""Which values a type admits: the comparisons that tell a compatible change from a breaking one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UnsetType

from meshcore.contract.contract import Type

READABLE = frozenset(
    [("int", "float"), ("int", "decimal"), ("float", "decimal")]
    # As text in both formats; a datetime is an extension in msgpack, and bytes are bytes.
    + [(kind, "str") for kind in ("uuid", "decimal", "date", "time", "timedelta")]
)
"""Written as the one, and read as the other; tests hold the codecs to it."""

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
"""Whether what keeps to the known limits keeps to another one."""


def default_change(old: Any, new: Any) -> str:
    """How the default of a field or parameter that stays optional differs, empty if it does not."""
    if old.required or new.required or _same(old.default, new.default):
        return ""
    return f"default is now {_shown(new.default)}, was {_shown(old.default)}"


def _same(old: Any, new: Any) -> bool:
    """As they are written: 1 and True are different."""
    if isinstance(old, UnsetType) or isinstance(new, UnsetType):
        return old is new
    return msgspec.json.encode(old, order="deterministic") == msgspec.json.encode(new, order="deterministic")


def _shown(default: Any) -> str:
    return "another at each call" if isinstance(default, UnsetType) else repr(default)


def members_of(type_: Type) -> tuple[Type, ...]:
    """The types in a union; any other type is one of one."""
    return type_.parts if type_.kind == "union" else (type_,)


def disjoint(sets: Iterable[frozenset[int | str]]) -> bool:
    """Whether no two of the sets share a member."""
    several = list(sets)
    return len(frozenset[int | str]().union(*several)) == sum(map(len, several))


def within(known: Mapping[str, Any], limits: Mapping[str, Any]) -> bool:
    """Whether all that keeps to the known limits keeps to the others."""
    try:
        return all(
            known.get(name) == limit or (name in _IMPLIED and _IMPLIED[name](known, limit))
            for name, limit in limits.items()
        )
    except TypeError:  # bounds of times are text
        return False
