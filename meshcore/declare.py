"""The vocabulary of declarations: base classes, decorators and parameter markers.

A decorator attaches an immutable mark to its class or function and returns it. It registers nothing and starts
nothing, so importing a module of declarations has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias, TypeVar

import msgspec

from meshcore.marks import add_mark

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


class RestMark(msgspec.Struct, frozen=True):
    """Left by `@rest`."""

    prefix: str


class HealthMark(msgspec.Struct, frozen=True):
    """Left by `@health`."""

    path: str


class HttpMark(msgspec.Struct, frozen=True):
    """Left by `@get`, `@post`, `@put`, `@patch` and `@delete`."""

    verb: str
    path: str
    summary: str
    description: str
    tags: tuple[str, ...]
    status: int = 200


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


def rest(prefix: str = "") -> Callable[[C], C]:
    """Put a prefix before the paths of all methods of the interface."""
    return lambda cls: add_mark(cls, RestMark(prefix))


def channel(name: str) -> Callable[[C], C]:
    """Name a channel class, so that addresses and `preferred_channel` can refer to it."""
    return lambda cls: add_mark(cls, ChannelMark(name))


def _http(verb: str, path: str, summary: str, description: str, tags: Sequence[str], status: int) -> Callable[[F], F]:
    return lambda function: add_mark(function, HttpMark(verb, path, summary, description, tuple(tags), status))


def get(
    path: str, *, summary: str = "", description: str = "", tags: Sequence[str] = (), status: int = 200
) -> Callable[[F], F]:
    """Map the method to HTTP GET; it is idempotent by that."""
    return _http("GET", path, summary, description, tags, status)


def post(
    path: str, *, summary: str = "", description: str = "", tags: Sequence[str] = (), status: int = 200
) -> Callable[[F], F]:
    """Map the method to HTTP POST.

    Args:
        path: below the interface's prefix; parameters stand in it in braces.
        summary: for documents; default: the first paragraph of the docstring.
        description: for documents; default: the rest of the docstring.
        tags: for documents; default: the name of the service.
        status: of an answer that is no error: 201 for what creates something, 204 for one without a body.
    """
    return _http("POST", path, summary, description, tags, status)


def put(
    path: str, *, summary: str = "", description: str = "", tags: Sequence[str] = (), status: int = 200
) -> Callable[[F], F]:
    """Map the method to HTTP PUT; it is idempotent by that (RFC 9110, 9.2.2)."""
    return _http("PUT", path, summary, description, tags, status)


def patch(
    path: str, *, summary: str = "", description: str = "", tags: Sequence[str] = (), status: int = 200
) -> Callable[[F], F]:
    """Map the method to HTTP PATCH."""
    return _http("PATCH", path, summary, description, tags, status)


def delete(
    path: str, *, summary: str = "", description: str = "", tags: Sequence[str] = (), status: int = 200
) -> Callable[[F], F]:
    """Map the method to HTTP DELETE; it is idempotent by that (RFC 9110, 9.2.2)."""
    return _http("DELETE", path, summary, description, tags, status)


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


class Source(Enum):
    """Where a REST request carries a parameter."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"
    BODY = "body"


class ParameterMark(msgspec.Struct, frozen=True):
    """Says, inside `Annotated`, where REST carries a parameter and how documents describe it."""

    source: Source
    description: str = ""
    example: Any = None
    alias: str = ""


def Query(  # noqa: N802 - reads as a type in Annotated
    description: str = "", example: Any = None, alias: str = ""
) -> ParameterMark:
    """Mark a query parameter, inside `Annotated`.

    Args:
        description: for documents.
        example: for documents.
        alias: its name in the URL, where that is no name of Python: `alias="from"`.
    """
    return ParameterMark(Source.QUERY, description, example, alias)


def Header(description: str = "", example: Any = None, alias: str = "") -> ParameterMark:  # noqa: N802
    """Mark a parameter that travels as a header of the request, inside `Annotated`.

    Args:
        description: for documents.
        example: for documents.
        alias: the header's name; default: the parameter's with dashes, `x_tenant` is `x-tenant`.
    """
    return ParameterMark(Source.HEADER, description, example, alias)


def Path(description: str = "", example: Any = None) -> ParameterMark:  # noqa: N802
    """Mark a path parameter, inside `Annotated`."""
    return ParameterMark(Source.PATH, description, example)


def Content(description: str = "", example: Any = None) -> ParameterMark:  # noqa: N802
    """Mark the request's body, inside `Annotated`."""
    return ParameterMark(Source.BODY, description, example)


# Generic aliases: a type checker sees the plain type, `describe` sees the mark.
QueryParam: TypeAlias = Annotated[T, ParameterMark(Source.QUERY)]
PathParam: TypeAlias = Annotated[T, ParameterMark(Source.PATH)]
HeaderParam: TypeAlias = Annotated[T, ParameterMark(Source.HEADER)]
Body: TypeAlias = Annotated[T, ParameterMark(Source.BODY)]
