"""Maps the parameters of a method to the path, query, headers and body of an HTTP request."""

from __future__ import annotations

import re
import types
from collections import Counter
from typing import Annotated, Any, Union, cast, get_args, get_origin

import msgspec

from meshcore.codec.errors import TravelError
from meshcore.codec.text import from_text, takes_lists, why_ambiguous
from meshcore.core.description import HttpMapping, Parameter, Source
from meshcore.declare.http import HttpMark

BODY_VERBS = frozenset({"POST", "PUT", "PATCH"})
NO_CONTENT = 204
"""The status of a response without a body."""

_PATH_NAME = re.compile(r"\{(\w+)\}")
_TOKEN = re.compile(r"[!#$%&'*+.^`|~\w-]+", re.ASCII)  # RFC 9110, 5.6.2
_RESERVED_HEADERS = frozenset(
    {
        *("connection", "content-length", "content-type", "expect", "host", "keep-alive", "origin", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)
_SUCCESS = range(200, 300)
_FIELDS = ("__struct_fields__", "__dataclass_fields__", "__required_keys__", "_fields", "__pydantic_fields__")


def read_mapping(mark: HttpMark, prefix: str) -> HttpMapping:
    """The mapping that a decorator declares, with the interface's prefix."""
    path = "/".join(part.strip("/") for part in (prefix, mark.path) if part.strip("/"))
    trailing = "/" if path and mark.path.endswith("/") else ""
    return HttpMapping(mark.verb, f"/{path}{trailing}", mark.tags, mark.status)


def why_not_status(http: HttpMapping, returns: Any, *, yields: bool) -> str | None:
    """Why a method cannot answer with its status, None if it can."""
    if http.status not in _SUCCESS:
        return f"status={http.status!r} is no success status (200 to 299)"
    if http.status == NO_CONTENT and (returns is not None or yields):
        return f"an answer with status {NO_CONTENT} has no body, so the method must return None"
    return None


def assign_sources(
    parameters: tuple[Parameter, ...], http: HttpMapping, place: str, problems: list[str]
) -> tuple[Parameter, ...]:
    """The parameters with their sources: where a request carries each.

    A mark decides. Without one it is the path if that has the parameter's name; the body for a stream, else for the
    first object, or else for the first value of any type, if the verb has a body; otherwise the query.
    """
    in_path = _PATH_NAME.findall(http.path)
    names = {parameter.name for parameter in parameters}
    problems += [
        f"{place}: {{{name}}} in path {http.path!r} is not a parameter" for name in in_path if name not in names
    ]
    if len(set(in_path)) < len(in_path):
        problems.append(f"{place}: path {http.path!r} has the same name twice")
    if reason := _why_no_path(http.path):
        problems.append(f"{place}: path {http.path!r}: {reason}")
    body = _body_of(parameters, http, in_path)
    assigned: list[Parameter] = []
    for parameter in parameters:
        source = parameter.source
        if source is None and parameter.name in in_path:
            source = Source.PATH
        elif source is None and parameter.name == body:
            source = Source.BODY
        source = source or Source.QUERY
        if reason := _contradiction(parameter, source, body, http, in_path):
            problems.append(f"{place}({parameter.name}): {reason}")
        assigned.append(msgspec.structs.replace(parameter, source=source))
    for (source, name), count in Counter((each.source, each.wire_name) for each in assigned).items():
        if count > 1 and source in {Source.QUERY, Source.HEADER}:
            problems.append(f"{place}: two of its parameters are the {source.value} parameter {name!r}")
    return tuple(assigned)


def _body_of(parameters: tuple[Parameter, ...], http: HttpMapping, in_path: list[str]) -> str | None:
    """The name of the parameter that is the body, None if none is."""
    body = next((each.name for each in parameters if each.stream), None)
    body = body or next((each.name for each in parameters if each.source is Source.BODY), None)
    if body is not None or http.verb not in BODY_VERBS:
        return body
    free = [each for each in parameters if each.source is None and each.name not in in_path]
    return next((each.name for may_be in (_is_object, _is_any) for each in free if may_be(each.type)), None)


def _why_no_path(path: str) -> str | None:
    """Why requests with a path cannot arrive with the same path and the same values, None if they can."""
    fixed = _PATH_NAME.sub("", path)
    if set("{}") & set(fixed):
        return "a parameter is a name in braces, such as {order_id}"
    if "}{" in path:
        return "nothing divides two of its parameters; put a slash between them"
    if set("?#") & set(fixed):
        return "'?' and '#' end a path; parameters that are not in the path are in the query anyway"
    if {".", ".."} & set(path.split("/")):
        return "'.' and '..' are steps to another path"
    return None


def _contradiction(
    parameter: Parameter, source: Source, body: str | None, http: HttpMapping, in_path: list[str]
) -> str | None:
    named = parameter.name in in_path
    match source:
        case Source.PATH if not named:
            return f"is a path parameter, but path {http.path!r} has no {{{parameter.name}}}"
        case Source.BODY | Source.QUERY | Source.HEADER if named:
            return f"is in path {http.path!r}, but marked as {source.value}"
        case Source.BODY if http.verb not in BODY_VERBS:
            return f"a {http.verb} request has no body"
        case Source.BODY if parameter.name != body:
            return f"a request has one body, and that is {body!r}"
        case Source.QUERY | Source.PATH | Source.HEADER if reason := _why_no_text(parameter):
            return f"{reason}, so it cannot be a {source.value} parameter; make it the Body[...] of a POST or PUT"
        case _:
            return _why_no_place(parameter, source)


def _why_no_place(parameter: Parameter, source: Source) -> str | None:
    """Why a parameter that has a form as text cannot be at its source, None if it can."""
    if source is Source.PATH and takes_lists(parameter.type):
        return "is a list, and a path has one value in its place; take it from the query"
    if source is not Source.HEADER:
        return None
    name = msgspec.structs.replace(parameter, source=source).wire_name
    if not _TOKEN.fullmatch(name):
        return f"{name!r} is no name of a header"
    if name in _RESERVED_HEADERS or name.startswith(("mesh-", "sec-")):
        return f"header {name!r} belongs to {'the mesh' if name.startswith('mesh-') else 'HTTP itself'}"
    return None


def _why_no_text(parameter: Parameter) -> str | None:
    hint = parameter.type
    if parameter.stream or _is_object(hint):
        return "is a stream" if parameter.stream else "is an object"
    try:
        from_text(hint)
    except TravelError as error:
        return str(error)
    return why_ambiguous(hint)


def _is_any(hint: Any) -> bool:
    """Whether values of the type may be of any type."""
    return hint is Any or (get_origin(hint) is Annotated and _is_any(get_args(hint)[0]))


def _is_object(hint: Any) -> bool:
    """Whether values of the type have fields or keys."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _is_object(get_args(hint)[0])
    if origin in {Union, types.UnionType}:
        return any(_is_object(part) for part in get_args(hint))
    plain: Any = origin or hint  # the class of a generic alias: the alias itself has no fields
    if not isinstance(plain, type):
        return False
    return issubclass(plain, dict) or any(hasattr(cast("object", plain), name) for name in _FIELDS)
