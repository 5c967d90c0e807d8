"""The decorators of the injector. They attach marks and register nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import (
    Any,
    Final,
    Literal,
    TypeVar,
    cast,
    get_args,
    overload,
)

import msgspec

from meshcore.core.marks import MISSING, find_mark
from meshcore.declare.decorators import (
    check_kind,
    classes_of,
    is_bare,
    is_target,
    mark_class,
    mark_function,
    misused,
    refuse_bare,
)
from meshcore.declare.services import ComponentMark, ImplementationMark

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

ScopeName = Literal["singleton", "request", "transient"]
SCOPES: Final[tuple[str, ...]] = get_args(ScopeName)


class InjectableMark(msgspec.Struct, frozen=True):
    """The mark of `@injectable`, and the base of the marks of other decorators that make a class injectable."""

    scope: str = "singleton"


class CreateMark(msgspec.Struct, frozen=True):
    """The mark of `@create`."""

    scope: str


class ModuleMark(msgspec.Struct, frozen=True):
    """The mark of `@module`."""

    imports: tuple[type, ...] = ()
    provides: tuple[type, ...] = ()
    components: tuple[type, ...] = ()


class OnInitMark(msgspec.Struct, frozen=True):
    """The mark of `@on_init`."""


class OnDestroyMark(msgspec.Struct, frozen=True):
    """The mark of `@on_destroy`."""


# Compared by identity: values in `Annotated` must be hashable, and a default may be a list.
class InjectValue(msgspec.Struct, frozen=True, eq=False):
    """Injects a value of the settings. Decorates a method with one parameter, or stands in `Annotated`."""

    key: str
    default: object = MISSING

    def __call__(self, function: F) -> F:
        """Mark a method: it is called with the value after construction."""
        return mark_function("inject_value", self)(function)


class InjectService(msgspec.Struct, frozen=True, eq=False):
    """Injects a service over a channel. Decorates a method with one parameter, or stands in `Annotated`."""

    preferred_channel: str = ""

    def __call__(self, function: F) -> F:
        """Mark a method: it is called with the service after construction."""
        return mark_function("inject_service", self)(function)


@overload
def injectable(scope: C, /) -> C: ...
@overload
def injectable(scope: ScopeName = "singleton") -> Callable[[C], C]: ...
def injectable(scope: str | type = "singleton") -> Any:
    """Let the injector make instances of a class, with the arguments that its constructor asks for.

    Args:
        scope: "singleton" for one instance, made at start; "request" for one per request, made when first asked for;
            "transient" for a new one each time. A transient is cleaned up together with the object that uses it.
    """
    if is_bare(scope, "injectable", InjectableMark):
        return injectable()(scope)
    return mark_class("injectable", lambda _: InjectableMark(cast("str", scope)))


@overload
def create(scope: F, /) -> F: ...
@overload
def create(scope: ScopeName = "singleton") -> Callable[[F], F]: ...
def create(scope: str | Callable[..., Any] = "singleton") -> Any:
    """Let a module's method make an object. Its return annotation is what it provides, its parameters are injected.

    The method may be a coroutine function, a generator or an async generator. A generator yields the object once
    (`Iterator[T]`, `AsyncIterator[T]`); what follows `yield` is the clean-up. With `@contextmanager` or
    `@asynccontextmanager` it is the same. In the scope "request" the `yield` raises the exception that ends the call,
    so there the clean-up belongs into a `finally` or a `with`. In the other scopes the clean-up always runs, and the
    generator is not told of failures elsewhere.

    Args:
        scope: as for `injectable`.
    """
    if is_target(scope):
        return create()(scope)
    return mark_function("create", CreateMark(cast("str", scope)))


@overload
def module(imports: C, /) -> C: ...
@overload
def module(
    imports: Iterable[type] = (), provides: Iterable[type] = (), components: Iterable[type] = ()
) -> Callable[[C], C]: ...
def module(imports: Iterable[type] | type = (), provides: Iterable[type] = (), components: Iterable[type] = ()) -> Any:
    """Declare a module. A mesh is made from a module and its imports.

    A module consists of the `@create` methods of the class, and of all decorated classes of the Python module in which
    the class is defined.

    Args:
        imports: other modules that this one needs.
        provides: classes that are written in another Python module, or not at its top level.
        components: components whose services are called in other processes.
    """
    if find_mark(imports, ModuleMark) is not None:
        name = getattr(imports, "__name__", "")
        raise misused("module", imports, "it is a module already", f"to import it, write @module(imports=[{name}])")
    for kind, use, argument in (
        (ImplementationMark, "provide it", "provides"),
        (ComponentMark, "call its services", "components"),
    ):
        if find_mark(imports, kind) is not None:
            mend = f"to {use}, write @module({argument}=[{getattr(imports, '__name__', '')}])"
            raise misused("module", imports, "it is no module", mend)
    if is_target(imports):
        return module()(imports)

    def mark(cls: type) -> ModuleMark:
        given = {"imports": imports, "provides": provides, "components": components}
        return ModuleMark(**{name: classes_of("module", cls, name, listed) for name, listed in given.items()})

    return mark_class("module", mark)


def inject_value(key: str, *, default: object = MISSING) -> InjectValue:
    """Inject a value, converted to the annotated type.

    `Annotated[str, inject_value("orders.currency")]` comes from the environment (`ORDERS_CURRENCY`), else from the
    setting `values`, else from the setting `value_source`.

    Args:
        key: its parts are separated by dots.
        default: used unchanged if there is no value. Without a default, a missing value is an error at the start.
    """
    refuse_bare("inject_value", key, '@inject_value("key")')
    check_kind("inject_value", None, "key", key, str)
    return InjectValue(key, default)


@overload
def inject_service(preferred_channel: F, /) -> F: ...
@overload
def inject_service(preferred_channel: str = "") -> InjectService: ...
def inject_service(preferred_channel: str | Callable[..., Any] = "") -> Any:
    """Inject a service over a certain channel. Without a preference the plain type of the parameter is enough.

    Args:
        preferred_channel: such as `rest`.
    """
    if is_target(preferred_channel):
        return InjectService()(preferred_channel)
    check_kind("inject_service", None, "preferred_channel", preferred_channel, str)
    return InjectService(cast("str", preferred_channel))


@overload
def on_init(function: F) -> F: ...
@overload
def on_init() -> Callable[[F], F]: ...
def on_init(function: F | None = None) -> F | Callable[[F], F]:
    """Call a method (`def` or `async def`) when everything is injected. Methods of base classes come first."""
    return _marked("on_init", OnInitMark(), function)


@overload
def on_destroy(function: F) -> F: ...
@overload
def on_destroy() -> Callable[[F], F]: ...
def on_destroy(function: F | None = None) -> F | Callable[[F], F]:
    """Call a method (`def` or `async def`) at clean-up. Methods of base classes come last."""
    return _marked("on_destroy", OnDestroyMark(), function)


def _marked(decorator: str, mark: object, function: F | None) -> F | Callable[[F], F]:
    decorate = mark_function(decorator, mark)
    return decorate if function is None else decorate(function)
