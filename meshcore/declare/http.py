"""Decorators and markers for REST: prefix, verb and path of a method, and where a request carries its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar, cast, overload

import msgspec

from meshcore.core.description import Source
from meshcore.declare.decorators import is_bare, mark_class, mark_function, refuse_bare

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class RestMark(msgspec.Struct, frozen=True):
    """The mark of `@rest`."""

    prefix: str


class HttpMark(msgspec.Struct, frozen=True):
    """The mark of `@get`, `@post`, `@put`, `@patch` and `@delete`."""

    verb: str
    path: str
    summary: str
    description: str
    tags: tuple[str, ...]
    status: int = 200


class ParameterMark(msgspec.Struct, frozen=True):
    """Says, inside `Annotated`, where a REST request carries a parameter, and describes it for documents."""

    source: Source
    description: str = ""
    example: Any = None
    alias: str = ""


@overload
def rest(prefix: C, /) -> C: ...
@overload
def rest(prefix: str = "") -> Callable[[C], C]: ...
def rest(prefix: str | type = "") -> Any:
    """Put a prefix before the REST paths of all methods of an interface.

    Args:
        prefix: such as `/orders`.
    """
    if is_bare(prefix, "rest", RestMark):
        return rest()(prefix)
    return mark_class("rest", lambda _: RestMark(cast("str", prefix)))


def _http(verb: str, path: str, summary: str, description: str, tags: Sequence[str], status: int) -> Callable[[F], F]:
    decorator = verb.lower()
    refuse_bare(decorator, path, f'@{decorator}("/path")')
    return mark_function(decorator, HttpMark(verb, path, summary, description, tuple(tags), status))


def get(
    path: str, *, summary: str = "", description: str = "", tags: Sequence[str] = (), status: int = 200
) -> Callable[[F], F]:
    """Map a method to HTTP GET, which makes it idempotent. Parameters: see `post`."""
    return _http("GET", path, summary, description, tags, status)


def post(
    path: str, *, summary: str = "", description: str = "", tags: Sequence[str] = (), status: int = 200
) -> Callable[[F], F]:
    """Map a method to HTTP POST.

    Args:
        path: below the interface's prefix. Parameters stand in it in braces: `/orders/{order_id}`.
        summary: for the OpenAPI document. Default: the first paragraph of the docstring.
        description: for the OpenAPI document. Default: the rest of the docstring.
        tags: for the OpenAPI document. Default: the name of the service.
        status: HTTP status of success, 200 to 299. 204 has no body, so the method returns None.
    """
    return _http("POST", path, summary, description, tags, status)


def put(
    path: str, *, summary: str = "", description: str = "", tags: Sequence[str] = (), status: int = 200
) -> Callable[[F], F]:
    """Map a method to HTTP PUT, which makes it idempotent (RFC 9110, 9.2.2). Parameters: see `post`."""
    return _http("PUT", path, summary, description, tags, status)


def patch(
    path: str, *, summary: str = "", description: str = "", tags: Sequence[str] = (), status: int = 200
) -> Callable[[F], F]:
    """Map a method to HTTP PATCH. Parameters: see `post`."""
    return _http("PATCH", path, summary, description, tags, status)


def delete(
    path: str, *, summary: str = "", description: str = "", tags: Sequence[str] = (), status: int = 200
) -> Callable[[F], F]:
    """Map a method to HTTP DELETE, which makes it idempotent (RFC 9110, 9.2.2). Parameters: see `post`."""
    return _http("DELETE", path, summary, description, tags, status)


def Query(  # noqa: N802 - reads as a type in Annotated
    description: str = "", example: Any = None, alias: str = ""
) -> ParameterMark:
    """Mark a query parameter, inside `Annotated`.

    Args:
        description: for the OpenAPI document.
        example: for the OpenAPI document.
        alias: its name in the URL, if that is no Python name: `alias="from"`.
    """
    return ParameterMark(Source.QUERY, description, example, alias)


def Header(description: str = "", example: Any = None, alias: str = "") -> ParameterMark:  # noqa: N802
    """Mark a parameter that travels as a header of the request, inside `Annotated`.

    Args:
        description: for the OpenAPI document.
        example: for the OpenAPI document.
        alias: the header's name. Default: the parameter's with dashes, `x_tenant` is `x-tenant`.
    """
    return ParameterMark(Source.HEADER, description, example, alias)


def Path(description: str = "", example: Any = None) -> ParameterMark:  # noqa: N802
    """Mark a path parameter, inside `Annotated`.

    Args:
        description: for the OpenAPI document.
        example: for the OpenAPI document.
    """
    return ParameterMark(Source.PATH, description, example)


def Content(description: str = "", example: Any = None) -> ParameterMark:  # noqa: N802
    """Mark the request's body, inside `Annotated`.

    Args:
        description: for the OpenAPI document.
        example: for the OpenAPI document.
    """
    return ParameterMark(Source.BODY, description, example)


# Generic aliases: type checkers see the plain type, `describe` sees the mark.
QueryParam: TypeAlias = Annotated[T, ParameterMark(Source.QUERY)]
"""`QueryParam[int]`: a query parameter."""
PathParam: TypeAlias = Annotated[T, ParameterMark(Source.PATH)]
"""`PathParam[int]`: a path parameter."""
HeaderParam: TypeAlias = Annotated[T, ParameterMark(Source.HEADER)]
"""`HeaderParam[str]`: a parameter that travels as a header."""
Body: TypeAlias = Annotated[T, ParameterMark(Source.BODY)]
"""`Body[Order]`: the request's body."""
