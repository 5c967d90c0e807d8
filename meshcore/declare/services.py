"""The decorators of services, components and implementations.

A decorator attaches an immutable mark to its class or function. It registers nothing and starts nothing, so importing
a module of declarations has no side effects.
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


class ChannelMark(msgspec.Struct, frozen=True):
    """The mark of `@channel`."""

    name: str


def kebab_case(name: str) -> str:
    """`HTTPOrderService` becomes `http-order-service`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", "-", name).lower()


def service(name: str = "", description: str = "") -> Callable[[C], C]:
    """Declare a service interface, whose methods can be called, in this process and from others.

    Its methods are the abstract ones, those with a decorator of the mesh, and the public ones with an empty body; in a
    protocol all public ones. A method with a body of its own is a helper, which runs at the caller.

    Args:
        name: of the service on the wire and on the command line. Default: the class's name in kebab case,
            `HTTPOrderService` is `http-order-service`.
        description: for the OpenAPI document.
    """
    return lambda cls: add_mark(cls, ServiceMark(name or kebab_case(cls.__name__), description))


def component(name: str = "", description: str = "", services: Sequence[type] = ()) -> Callable[[C], C]:
    """Declare a component: services that are deployed together and reached over the same channels.

    Args:
        name: under which instances are announced in the registry. Default: the class's name in kebab case.
        description: for the OpenAPI document and `/report`.
        services: the interfaces that the component offers, each decorated with `@service`.
    """
    return lambda cls: add_mark(cls, ComponentMark(name or kebab_case(cls.__name__), description, tuple(services)))


def implementation(scope: str = "singleton") -> Callable[[C], C]:
    """Declare the implementation of a service or component. The injector makes its instances.

    Args:
        scope: "singleton" for one instance per mesh, "request" for one per served call.
    """
    return lambda cls: add_mark(cls, ImplementationMark(scope))


def health(path: str) -> Callable[[C], C]:
    """Serve the health of a component at an HTTP path. It decorates the component's implementation.

    The response has status 200 for OK, 429 for WARNING and 500 for ERROR. The body has the result of each check.

    Args:
        path: begins with a slash, such as `/orders/health`.
    """
    return lambda cls: add_mark(cls, HealthMark(path))


def channel(name: str) -> Callable[[C], C]:
    """Name a channel: a class that derives from `Channel`.

    Args:
        name: in addresses, in the setting `preferred_channel` and in `get_service`.
    """
    return lambda cls: add_mark(cls, ChannelMark(name))


def raises(*exceptions: type[Exception]) -> Callable[[F], F]:
    """Declare exceptions that reach the caller as the same class, with the same fields.

    The fields are those of a dataclass, else the parameters of `__init__`, else `args`. A class attribute
    `code: ClassVar[Code]` gives the exception a code, and by that its HTTP status; without one it has
    FAILED_PRECONDITION.

    Args:
        exceptions: classes that derive from `Exception`, not from `MeshError`.
    """
    return lambda function: add_mark(function, RaisesMark(exceptions))


def idempotent(function: F) -> F:
    """Declare that a method may be executed again for the same call. It is retried even if it may have begun."""
    return add_mark(function, IdempotentMark())


def affinity(parameter: str) -> Callable[[F], F]:
    """Send calls with the same value of a parameter to the same instance, while that is available and not overloaded.

    For caches and sessions in the memory of an instance. This is no guarantee: other instances may get such calls, too.

    Args:
        parameter: the name of the parameter.
    """
    return lambda function: add_mark(function, AffinityMark(parameter))


def shielded(function: F) -> F:
    """Declare that a method is not cancelled when its caller gives up or disconnects, once it runs on a server.

    The server's own limits still apply: the setting `request_timeout`, which is also the deadline of the calls that the
    method makes, and the setting `drain`. A local call runs in its caller's task and is cancelled with it.
    """
    return add_mark(function, ShieldedMark())


def idempotency_key(seconds: float = 600.0) -> Callable[[F], F]:
    """Declare that a server executes each call once, even if it receives it several times: for writes.

    Every call gets a key, the same for all its attempts. The server keeps the outcome and responds to repetitions with
    it. So a call whose connection broke is sent again, to the same instance. The method is shielded, see `shielded`.

    Args:
        seconds: how long the outcome is kept. The setting `idempotency_memory` limits the memory for all outcomes.
    """
    return lambda function: add_mark(function, IdempotencyKeyMark(seconds))
