"""How the value of a parameter is looked up, and read: once, or whenever it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast, get_args, get_origin

import msgspec

from meshcore.core.marks import MISSING
from meshcore.core.value import Value
from meshcore.declare.injection import InjectValue
from meshcore.inject.dependencies import Dependency, unwrap


class UnresolvedError(Exception):
    """A dependency cannot be answered; the text says why."""


class ValueLookup(Protocol):
    """Where `@inject_value` looks."""

    def lookup(self, key: str) -> object:
        """The value as it was written, text or plain data; `MISSING` if nobody wrote it.

        Raises:
            UnresolvedError: nobody can tell at the moment.
        """
        ...


class Live(msgspec.Struct, frozen=True, eq=False):
    """A value that a parameter wants to see change.

    Attributes:
        key: where it comes from.
        value: what the parameter is given.
        read: makes of what was looked up what the value may be; raises UnresolvedError if nothing can be made of it.
    """

    key: str
    value: Value[Any]
    read: Callable[[object], object]


def is_live(kind: Any) -> bool:
    """Whether a type is `Value`, of whatever."""
    return (get_origin(kind) or kind) is Value


def read_value(need: Dependency, mark: InjectValue, raw: object) -> object:
    """The value for a parameter, of what was looked up.

    Raises:
        UnresolvedError: it does not fit, or is missing and has no default.
    """
    hint = Any if need.hint is None else need.hint
    default, optional = need.default, need.optional
    if is_live(need.key):
        hint = next(iter(get_args(need.key)), Any)
        optional = unwrap(hint)[2]
        if isinstance(default, Value):
            default = cast("Value[object]", default).get()
    if raw is MISSING:
        defaults = [each for each in (mark.default, default) if each is not MISSING]
        if defaults or optional:
            return defaults[0] if defaults else None
        raise UnresolvedError(f"no setting gives {mark.key!r}; set it, or give inject_value a default")
    try:
        return _converted(raw, hint)
    except Exception as error:  # the conversion runs constructors of the user's
        raise UnresolvedError(f"the setting {mark.key!r} does not fit: {error}") from error


def _converted(raw: object, hint: Any) -> object:
    """As the type; text for a type that is not written as text is JSON."""
    try:
        return msgspec.convert(raw, hint, strict=False, dec_hook=_revive)
    except msgspec.ValidationError:
        if not isinstance(raw, str) or raw.lstrip()[:1] not in {"{", "["}:
            raise
    return msgspec.json.decode(raw, type=hint, strict=False, dec_hook=_revive)


def _revive(kind: Any, value: Any) -> Any:
    """Msgspec's hook for classes it does not know, such as `pathlib.Path`: they are made of the value."""
    return value if isinstance(value, kind) else kind(value)
