"""Values for parameters: converted to the annotated type, once or each time that they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, cast, get_args, get_origin

import msgspec

from meshcore.core.marks import MISSING
from meshcore.core.masking import has_secret
from meshcore.core.value import Value
from meshcore.declare.injection import InjectValue
from meshcore.inject.dependencies import Dependency, unwrap


class UnresolvedError(Exception):
    """A dependency cannot be resolved. The text says why."""


class ValueLookup(Protocol):
    """Looks up values for `@inject_value`."""

    def lookup(self, key: str) -> object:
        """The value as it was written, text or plain data; `MISSING` if there is none.

        Raises:
            UnresolvedError: it is unknown at the moment whether there is one.
        """
        ...


class _NoValues:
    """The default of a graph."""

    def lookup(self, key: str) -> object:  # noqa: ARG002
        return MISSING


NO_VALUES: Final = _NoValues()


class LiveValue(msgspec.Struct, frozen=True, eq=False):
    """A `Value` that was injected, and is updated when its source changes.

    Attributes:
        key: of the value.
        value: the injected object.
        read: converts what was looked up; raises UnresolvedError if that is not possible.
    """

    key: str
    value: Value[Any]
    read: Callable[[object], object]


def is_live(kind: Any) -> bool:
    """Whether a type is `Value[...]`."""
    return (get_origin(kind) or kind) is Value


def read_value(need: Dependency, mark: InjectValue, raw: object) -> object:
    """Convert what was looked up to the type of a parameter.

    Raises:
        UnresolvedError: it does not fit the type, or it is missing and has no default.
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
    except Exception as error:  # the conversion runs the user's constructors
        if has_secret(need.hint):  # the text of the error may show the value, as that of int() does
            text = f"{type(error).__name__}, without its text, since the value is marked Secret"
            raise UnresolvedError(f"the setting {mark.key!r} does not fit: {text}") from None
        raise UnresolvedError(f"the setting {mark.key!r} does not fit: {error}") from error


def _converted(raw: object, hint: Any) -> object:
    """Convert to a type. Text that does not fit, and looks like JSON, is read as JSON."""
    try:
        return msgspec.convert(raw, hint, strict=False, dec_hook=_construct)
    except msgspec.ValidationError:
        if not isinstance(raw, str) or raw.lstrip()[:1] not in {"{", "["}:
            raise
    return msgspec.json.decode(raw, type=hint, strict=False, dec_hook=_construct)


def _construct(kind: Any, value: Any) -> Any:
    """Make an object of a class that msgspec does not know, such as `pathlib.Path`, from a value."""
    return value if isinstance(value, kind) else kind(value)
