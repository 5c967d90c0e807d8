"""The decorators of the injector. They leave marks and register nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import (
    Any,
    Final,
    Literal,
    TypeVar,
    get_args,
    overload,
)

import msgspec

from meshcore.core.marks import MISSING, add_mark

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

ScopeName = Literal["singleton", "request", "transient"]
SCOPES: Final[tuple[str, ...]] = get_args(ScopeName)


class InjectableMark(msgspec.Struct, frozen=True):
    """Left by `@injectable`. Marks of classes that are injectable by being something else derive from it."""

    scope: str = "singleton"


class CreateMark(msgspec.Struct, frozen=True):
    """Left by `@create`."""

    scope: str


class ModuleMark(msgspec.Struct, frozen=True):
    """Left by `@module`."""

    imports: tuple[type, ...] = ()
    provides: tuple[type, ...] = ()
    components: tuple[type, ...] = ()


class OnInitMark(msgspec.Struct, frozen=True):
    """Left by `@on_init`."""


class OnDestroyMark(msgspec.Struct, frozen=True):
    """Left by `@on_destroy`."""


# Compared by identity: a default may be a list, and what stands in `Annotated` has to be hashable.
class InjectValue(msgspec.Struct, frozen=True, eq=False):
    """Says that a value comes from the settings: decorates a method with one parameter, or stands in `Annotated`."""

    key: str
    default: object = MISSING

    def __call__(self, function: F) -> F:
        """Mark a method: it is called with the value after construction."""
        return add_mark(function, self)


class InjectService(msgspec.Struct, frozen=True, eq=False):
    """Says by which channel a service is reached: decorates a method with one parameter, or stands in `Annotated`."""

    preferred_channel: str = ""

    def __call__(self, function: F) -> F:
        """Mark a method: it is called with the service after construction."""
        return add_mark(function, self)


def injectable(scope: ScopeName = "singleton") -> Callable[[C], C]:
    """Let the injector make instances of a class, with the arguments that its constructor asks for.

    Args:
        scope: "singleton" for one instance, made at start; "request" for one per request, made when first asked for;
            "transient" for a new one each time. A transient is cleaned up together with whoever asked for it.
    """
    return lambda cls: add_mark(cls, InjectableMark(scope))


def create(scope: ScopeName = "singleton") -> Callable[[F], F]:
    """Let a module's method make an object. Its return annotation is what it provides, its parameters are injected.

    The method may be a coroutine function, a generator or an async generator. A generator yields the object once
    (`Iterator[T]`, `AsyncIterator[T]`); what follows `yield` is the clean-up. In the scope "request" the `yield` raises
    the exception that ends the call, so there the clean-up belongs into a `finally` or a `with`. In the other scopes
    the clean-up always runs, and the generator is not told of failures elsewhere.

    Args:
        scope: as for `injectable`.
    """
    return lambda function: add_mark(function, CreateMark(scope))


def module(
    imports: Iterable[type] = (), provides: Iterable[type] = (), components: Iterable[type] = ()
) -> Callable[[C], C]:
    """Declare a module: the unit that a mesh is made of.

    To it belong the `@create` methods of the class, and every decorated class of the Python module that the class
    stands in.

    Args:
        imports: other modules that this one needs.
        provides: classes that are written in another Python module, or not at its top level.
        components: components whose services are called in other processes.
    """
    return lambda cls: add_mark(cls, ModuleMark(tuple(imports), tuple(provides), tuple(components)))


def inject_value(key: str, *, default: object = MISSING) -> InjectValue:
    """Inject a value, converted to the annotated type.

    `Annotated[str, inject_value("orders.currency")]` comes from the environment (`ORDERS_CURRENCY`), else from the
    setting `values`, else from the setting `value_source`.

    Args:
        key: parts are divided by dots.
        default: taken as it is if nobody gives a value. Without one, a missing value is an error at the start.
    """
    return InjectValue(key, default)


def inject_service(preferred_channel: str = "") -> InjectService:
    """Inject a service over a certain channel. Without a preference the plain type of the parameter is enough.

    Args:
        preferred_channel: such as `rest`.
    """
    return InjectService(preferred_channel)


@overload
def on_init(function: F) -> F: ...
@overload
def on_init() -> Callable[[F], F]: ...
def on_init(function: F | None = None) -> F | Callable[[F], F]:
    """Call a method (`def` or `async def`) when everything is injected; those of base classes first."""
    return _marked(OnInitMark(), function)


@overload
def on_destroy(function: F) -> F: ...
@overload
def on_destroy() -> Callable[[F], F]: ...
def on_destroy(function: F | None = None) -> F | Callable[[F], F]:
    """Call a method (`def` or `async def`) at clean-up; those of base classes last."""
    return _marked(OnDestroyMark(), function)


def _marked(mark: object, function: F | None) -> F | Callable[[F], F]:
    if function is not None:
        return add_mark(function, mark)
    return lambda function: add_mark(function, mark)
