"""The vocabulary of declarations: base classes, decorators and parameter markers.

A decorator attaches an immutable mark to its class or function and returns it. It registers nothing and starts
nothing, so importing a module of declarations has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from meshcore.core.marks import add_mark

if TYPE_CHECKING:
    from collections.abc import Sequence

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Service(Protocol):
    """The base of service interfaces; it is a protocol, so an interface may be an ABC or a protocol itself."""


class ServiceMark(msgspec.Struct, frozen=True):
    """Left by `@service`."""

    name: str
    description: str


class ComponentMark(msgspec.Struct, frozen=True):
    """Left by `@component`."""

    name: str
    description: str
    services: tuple[type, ...]


class ImplementationMark(msgspec.Struct, frozen=True):
    """Left by `@implementation`."""

    scope: str


class HealthMark(msgspec.Struct, frozen=True):
    """Left by `@health`."""

    path: str


class RaisesMark(msgspec.Struct, frozen=True):
    """Left by `@raises`."""

    exceptions: tuple[type[Exception], ...]


class IdempotentMark(msgspec.Struct, frozen=True):
    """Left by `@idempotent`."""


class AffinityMark(msgspec.Struct, frozen=True):
    """Left by `@affinity`."""

    parameter: str


class ShieldedMark(msgspec.Struct, frozen=True):
    """Left by `@shielded`."""


class IdempotencyKeyMark(msgspec.Struct, frozen=True):
    """Left by `@idempotency_key`."""

    seconds: float


class ChannelMark(msgspec.Struct, frozen=True):
    """Left by `@channel`."""

    name: str


def kebab_case(name: str) -> str:
    """`HTTPOrderService` becomes `http-order-service`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", "-", name).lower()


def service(name: str = "", description: str = "") -> Callable[[C], C]:
    """Declare a service interface. Its default name is the class's name in kebab case."""
    return lambda cls: add_mark(cls, ServiceMark(name or kebab_case(cls.__name__), description))


def component(name: str = "", description: str = "", services: Sequence[type] = ()) -> Callable[[C], C]:
    """Declare a component: the services that are deployed together and reached over the same channels."""
    return lambda cls: add_mark(cls, ComponentMark(name or kebab_case(cls.__name__), description, tuple(services)))


def implementation(scope: str = "singleton") -> Callable[[C], C]:
    """Declare the implementation of a service or component; the injector makes its instances.

    Args:
        scope: "singleton" for one instance per mesh, "request" for one per served call.
    """
    return lambda cls: add_mark(cls, ImplementationMark(scope))


def health(path: str) -> Callable[[C], C]:
    """Give a component implementation an HTTP path that answers with its health."""
    return lambda cls: add_mark(cls, HealthMark(path))


def channel(name: str) -> Callable[[C], C]:
    """Name a channel class, so that addresses and `preferred_channel` can refer to it."""
    return lambda cls: add_mark(cls, ChannelMark(name))


def raises(*exceptions: type[Exception]) -> Callable[[F], F]:
    """Declare exceptions that travel: they arrive at the caller as the same class with the same fields."""
    return lambda function: add_mark(function, RaisesMark(exceptions))


def idempotent(function: F) -> F:
    """Declare that the method may be executed again for the same call: it may then be retried after it began."""
    return add_mark(function, IdempotentMark())


def affinity(parameter: str) -> Callable[[F], F]:
    """Send calls with the same value of this parameter to the same instance, as long as it is there and can take them.

    For caches and sessions that an instance holds: it makes them fit better, and is no guarantee.
    """
    return lambda function: add_mark(function, AffinityMark(parameter))


def shielded(function: F) -> F:
    """Declare that the method's work, once begun on a server, is not cancelled when its caller gives up or leaves.

    The server keeps its own bounds: the setting `request_timeout`, which is then also the deadline of what it calls in
    turn, and the setting `drain`. A call within one process runs in its caller's task, and ends with it.
    """
    return add_mark(function, ShieldedMark())


def idempotency_key(seconds: float = 600.0) -> Callable[[F], F]:
    """Declare that a server executes each call once, however often it is sent to it: for writes.

    Every call gets a key, the same for all its attempts. The server keeps the outcome and answers a repetition with it;
    so a call whose connection broke is sent again, to the same instance. The work is shielded, see `shielded`.

    Args:
        seconds: how long the outcome is kept, if the setting `idempotency_memory` suffices.
    """
    return lambda function: add_mark(function, IdempotencyKeyMark(seconds))
