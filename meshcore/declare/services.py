"""The decorators of services, components and implementations.

A decorator attaches an immutable mark to its class or function. It registers nothing and starts nothing, so importing
a module of declarations has no side effects.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec

from meshcore.core.marks import find_mark
from meshcore.declare.decorators import (
    classes_of,
    is_bare,
    is_target,
    mark_class,
    mark_function,
    misused,
    refuse_bare,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class Service(Protocol):
    """The base of service interfaces. It is a protocol, so an interface may be an abstract class or a protocol."""


class ServiceMark(msgspec.Struct, frozen=True):
    """The mark of `@service`."""

    name: str
    description: str


class ComponentMark(msgspec.Struct, frozen=True):
    """The mark of `@component`."""

    name: str
    description: str
    services: tuple[type, ...]


class ImplementationMark(msgspec.Struct, frozen=True):
    """The mark of `@implementation`."""

    scope: str


class HealthMark(msgspec.Struct, frozen=True):
    """The mark of `@health`."""

    path: str


class RaisesMark(msgspec.Struct, frozen=True):
    """The mark of `@raises`."""

    exceptions: tuple[type[Exception], ...]


class IdempotentMark(msgspec.Struct, frozen=True):
    """The mark of `@idempotent`."""


class AffinityMark(msgspec.Struct, frozen=True):
    """The mark of `@affinity`."""

    parameter: str


class ShieldedMark(msgspec.Struct, frozen=True):
    """The mark of `@shielded`."""


class IdempotencyKeyMark(msgspec.Struct, frozen=True):
    """The mark of `@idempotency_key`."""

    seconds: float


class InThreadMark(msgspec.Struct, frozen=True):
    """The mark of `@in_thread`."""

    function: Callable[..., Any]


class ChannelMark(msgspec.Struct, frozen=True):
    """The mark of `@channel`."""

    name: str


def kebab_case(name: str) -> str:
    """`HTTPOrderService` becomes `http-order-service`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", "-", name).lower()


@overload
def service(name: C, /) -> C: ...
@overload
def service(name: str = "", description: str = "") -> Callable[[C], C]: ...
def service(name: str | type = "", description: str = "") -> Any:
    """Declare a service interface, whose methods can be called, in this process and from others.

    Its methods are the abstract ones, those with a decorator of the mesh, and the public ones with an empty body; in a
    protocol all public ones. A method with a body of its own is a helper, which runs at the caller.

    Args:
        name: of the service on the wire and on the command line. Default: the class's name in kebab case,
            `HTTPOrderService` is `http-order-service`.
        description: for the OpenAPI document.
    """
    if is_bare(name, "service", ServiceMark):
        return service()(name)
    return mark_class("service", lambda cls: ServiceMark(cast("str", name) or kebab_case(cls.__name__), description))


@overload
def component(name: C, /) -> C: ...
@overload
def component(name: str = "", description: str = "", services: Sequence[type] = ()) -> Callable[[C], C]: ...
def component(name: str | type = "", description: str = "", services: Sequence[type] = ()) -> Any:
    """Declare a component: services that are deployed together and reached over the same channels.

    Args:
        name: under which instances are announced in the registry. Default: the class's name in kebab case.
        description: for the OpenAPI document and `/report`.
        services: the interfaces that the component offers, each decorated with `@service`.
    """
    if find_mark(name, ServiceMark) is not None:
        raise misused("component", name, "a service is no component", f"write @component(services=[{_name(name)}])")
    if is_bare(name, "component", ComponentMark):
        return component()(name)
    return mark_class(
        "component",
        lambda cls: ComponentMark(
            cast("str", name) or kebab_case(cls.__name__),
            description,
            classes_of("component", cls, "services", services),
        ),
    )


@overload
def implementation(scope: C, /) -> C: ...
@overload
def implementation(scope: str = "singleton") -> Callable[[C], C]: ...
def implementation(scope: str | type = "singleton") -> Any:
    """Declare the implementation of a service or component. The injector makes its instances.

    Args:
        scope: "singleton" for one instance per mesh, "request" for one per served call.
    """
    if find_mark(scope, ServiceMark) is not None or find_mark(scope, ComponentMark) is not None:
        text = f"write @implementation() and derive from {_name(scope)}"
        raise misused("implementation", scope, "an interface is not its own implementation", text)
    if is_bare(scope, "implementation", ImplementationMark):
        return implementation()(scope)
    return mark_class("implementation", lambda _: ImplementationMark(cast("str", scope)))


def health(path: str) -> Callable[[C], C]:
    """Serve the health of a component at an HTTP path. It decorates the component's implementation.

    The response has status 200 for OK, 429 for WARNING and 500 for ERROR. The body has the result of each check.

    Args:
        path: begins with a slash, such as `/orders/health`.
    """
    refuse_bare("health", path, '@health("/health")')
    return mark_class("health", lambda _: HealthMark(path))


def channel(name: str) -> Callable[[C], C]:
    """Name a channel: a class that derives from `Channel`.

    Args:
        name: in addresses, in the setting `preferred_channel` and in `get_service`.
    """
    refuse_bare("channel", name, '@channel("name")')
    return mark_class("channel", lambda _: ChannelMark(name))


def raises(*exceptions: type[Exception]) -> Callable[[F], F]:
    """Declare exceptions that reach the caller as the same class, with the same fields.

    The fields are those of a dataclass, else the parameters of `__init__`, else `args`. A class attribute
    `code: ClassVar[Code]` gives the exception a code, and by that its HTTP status; without one it has
    FAILED_PRECONDITION, which is 400.

    Args:
        exceptions: classes that derive from `Exception`, not from `MeshError`.
    """
    for each in exceptions:
        if not _is_class(each) or find_mark(each, ServiceMark) is not None:
            refuse_bare("raises", each, "@raises(OutOfStock)")
    return mark_function("raises", RaisesMark(exceptions))


@overload
def idempotent(function: F, /) -> F: ...
@overload
def idempotent() -> Callable[[F], F]: ...
def idempotent(function: F | None = None) -> F | Callable[[F], F]:
    """Declare that a method may be executed again for the same call. It is retried even if it may have begun."""
    decorate = mark_function("idempotent", IdempotentMark())
    return decorate if function is None else decorate(function)


def affinity(parameter: str) -> Callable[[F], F]:
    """Send calls with the same value of a parameter to the same instance, while that is available and not overloaded.

    For caches and sessions in the memory of an instance. This is no guarantee: other instances may get such calls, too.

    Args:
        parameter: the name of the parameter.
    """
    refuse_bare("affinity", parameter, '@affinity("parameter")')
    return mark_function("affinity", AffinityMark(parameter))


@overload
def shielded(function: F, /) -> F: ...
@overload
def shielded() -> Callable[[F], F]: ...
def shielded(function: F | None = None) -> F | Callable[[F], F]:
    """Declare that a method is not cancelled when its caller gives up or disconnects, once it runs on a server.

    The server's own limits still apply: the setting `request_timeout`, which is also the deadline of the calls that the
    method makes, and the setting `drain`. A local call runs in its caller's task and is cancelled with it.
    """
    decorate = mark_function("shielded", ShieldedMark())
    return decorate if function is None else decorate(function)


@overload
def idempotency_key(seconds: F, /) -> F: ...
@overload
def idempotency_key(seconds: float = 600.0) -> Callable[[F], F]: ...
def idempotency_key(seconds: float | Callable[..., Any] = 600.0) -> Any:
    """Declare that a server executes each call once, even if it receives it several times: for writes.

    Every call gets a key, the same for all its attempts. The server keeps the outcome and responds to repetitions with
    it. So a call whose connection broke is sent again, to the same instance. The method is shielded, see `shielded`.
    A key of the caller's own (`with_key`, or the header `Idempotency-Key`) makes several calls one.

    Args:
        seconds: how long the outcome is kept. The setting `idempotency_memory` limits the memory for all outcomes.
    """
    if is_target(seconds):
        return idempotency_key()(seconds)
    return mark_function("idempotency_key", IdempotencyKeyMark(cast("float", seconds)))


@overload
def in_thread(function: Callable[P, R], /) -> Callable[P, CoroutineType[Any, Any, R]]: ...
@overload
def in_thread() -> Callable[[Callable[P, R]], Callable[P, CoroutineType[Any, Any, R]]]: ...
def in_thread(function: Callable[P, R] | None = None) -> Any:
    """Implement an `async def` method of an interface with a `def`, as type checkers accept it.

    A `def` implementation runs in a worker thread with and without this decorator. With it, the method has the type of
    an `async def`, so it overrides one, and other methods of the class can await it.
    """
    if function is None:
        return in_thread
    if inspect.iscoroutinefunction(function) or not inspect.isfunction(function):
        raise misused("in_thread", function, "it decorates methods that are def, in an implementation")

    @functools.wraps(function)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(function, *args, **kwargs)

    return mark_function("in_thread", InThreadMark(function))(run)


def _is_class(given: object) -> bool:
    return isinstance(given, type)


def _name(cls: object) -> str:
    return getattr(cls, "__name__", "")
