"""`@allow` and `@allow_any`: who may call, as the interface says it. They leave marks for `security/authorization`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

import msgspec

from meshcore.core.access import ANYONE
from meshcore.core.marks import marks_of
from meshcore.declare.decorators import is_target, kind_of, mark_function, misused, refuse_bare

T = TypeVar("T")

_COMPONENT: Final = re.compile(r"[^\s/*:]+")


class AllowMark(msgspec.Struct, frozen=True):
    """The mark of `@allow` and `@allow_any`."""

    components: tuple[str, ...]


def allow(*components: str) -> Callable[[T], T]:
    """Allow only the instances of certain components to call. Rules of operators may allow more callers, or deny these.

    It decorates a component, a service or a method. What is said of a method counts before what is said of its service,
    and that before what is said of its component. As soon as anything is said of a component, a method of which nothing
    is said can be called by nobody.

    A caller is who it has proven to be, so this needs the setting `identity`. Calls within a process are always
    allowed.

    Args:
        components: the names of the components whose instances may call.

    Raises:
        ConfigurationError: no name is given, one cannot be that of a component, or there is another such decorator.
    """
    if not components:
        raise misused("allow", None, "it names no component", 'write @allow("orders"), or @allow_any for all callers')
    for each in components:
        refuse_bare("allow", each, '@allow("orders")')
        if not isinstance(each, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise misused("allow", None, f"it takes the names of components, and this is {kind_of(each)}")
        if not _COMPONENT.fullmatch(each):
            mend = "write @allow_any for all callers" if each == "*" else 'write @allow("orders")'
            raise misused("allow", None, f"{each!r} cannot be the name of a component", mend)
    return _once("allow", AllowMark(tuple(dict.fromkeys(components))))


@overload
def allow_any(target: T, /) -> T: ...
@overload
def allow_any() -> Callable[[Any], Any]: ...
def allow_any(target: Any = None) -> Any:
    """Allow everybody to call, also who has proven nothing. It decorates a component, a service or a method.

    Raises:
        ConfigurationError: there is an `@allow`, too.
    """
    decorate = _once("allow_any", AllowMark((ANYONE,)))
    if target is None:
        return decorate
    if not is_target(target):
        raise misused("allow_any", None, "it takes nothing", 'write @allow("orders") for certain components')
    return decorate(target)


def _once(decorator: str, mark: AllowMark) -> Callable[[Any], Any]:
    """A decorator that contradicts another one of its kind."""
    mark_it = mark_function(decorator, mark)

    def decorate(target: Any) -> Any:
        earlier = next((each for each in marks_of(target) if isinstance(each, AllowMark)), None)
        if earlier is not None:
            other = "@allow_any" if earlier.components == (ANYONE,) else f"@allow({', '.join(earlier.components)})"
            raise misused(decorator, target, f"{other} stands there, too", "only one of them can count; write one")
        return mark_it(target)

    return decorate
