"""What the path of a REST request leads to, judged in the same way by clients and servers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec

from meshcore.codec.errors import DecodeError
from meshcore.core.description import ComponentDescription, HttpMapping, Method
from meshcore.core.errors import Code, LocalError
from meshcore.wire.dispatch import method_path
from meshcore.wire.endpoints import INVOKE
from meshcore.wire.rest_paths import PathTemplate, unquote_value

T = TypeVar("T")

_QUOTED_DOT = "%2E"  # all that `fill` quotes without need: against who takes "." and ".." for steps on the way
_SHOWN = 200  # characters of a path in a message


class Route(msgspec.Struct, Generic[T], frozen=True):
    """A path of one verb, and what it leads to."""

    verb: str
    template: PathTemplate
    target: T


class Routes(Generic[T]):
    """Of the routes that match a path the most exact counts; of several that are equally exact, the one declared first.

    Args:
        routes: in the order of their declaration.
    """

    def __init__(self, routes: Iterable[Route[T]]) -> None:
        self._routes: Sequence[Route[T]] = sorted(routes, key=lambda route: route.template.rank)

    def find(self, verb: str, path: str) -> tuple[T, Mapping[str, str]] | None:
        """What a request leads to, and the quoted values in its path; None if that is nothing."""
        for route in self._routes:
            if route.verb == verb and (values := route.template.match(path)) is not None:
                return route.target, values
        return None

    def before(self, target: T) -> Sequence[Route[T]]:
        """The routes that some paths of this target lead to instead. One of the same shape is no other path."""
        own = next(route for route in self._routes if route.target is target)
        return [
            route
            for route in self._routes[: self._routes.index(own)]
            if route.verb == own.verb
            and route.template.shape != own.template.shape
            and route.template.may_overlap(own.template)
        ]


def routes_of(component: ComponentDescription) -> Routes[Method]:
    """The REST methods of a component."""
    return Routes(
        Route(method.http.verb, PathTemplate(method.http.path), method)
        for service in component.services
        for method in service.methods
        if method.http is not None
    )


def meant_method(component: str, method: Method) -> str:
    """The header `METHOD` of requests for a method."""
    return quote(method_path(component, method), safe=":")


class PathWriter:
    """Writes the path of a method's requests, if it leads to that method and gives the same values.

    Args:
        method: which.
        http: its mapping.
        routes: what the same server offers.

    Attributes:
        names: of the values, in their order.
    """

    def __init__(self, method: Method, http: HttpMapping, routes: Routes[Method]) -> None:
        self._method = method
        self._verb = http.verb
        self._template = PathTemplate(http.path)
        self._others = routes.before(method)
        self.names = self._template.names

    def write(self, values: Sequence[str]) -> str:
        """The quoted path.

        Raises:
            LocalError: INVALID_ARGUMENT, with these values the path means something else.
        """
        path = self._template.fill(values)
        if not values:
            return path
        read = path.replace(_QUOTED_DOT, ".")  # as a server reads it
        if read == INVOKE:
            raise self._other(path, "that is the path of the dispatch channels")
        quoted = self._template.match(read)
        if quoted is None or not self._equal(quoted, values):
            raise self._other(path, f"with these values path {self._template.quoted!r} is read as other values")
        for other in self._others:
            if other.template.match(read) is not None:
                raise self._other(path, f"{self._verb} {shortened(path)} is the path of {other.target}")
        return path

    def _equal(self, quoted: Mapping[str, str], values: Sequence[str]) -> bool:
        try:
            return [unquote_value(quoted[name]) for name in self.names] == list(values)
        except DecodeError:  # the template divides a quoted character
            return False

    def _other(self, path: str, reason: str) -> LocalError:
        text = f"{self._method} cannot be called with {shortened(path)} over REST: {reason}; use another channel"
        return LocalError(Code.INVALID_ARGUMENT, text)


def shortened(path: str) -> str:
    """A path for a message."""
    return path if len(path) <= _SHOWN else f"{path[:_SHOWN]}..."
