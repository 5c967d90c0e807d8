"""REST routes generated from interfaces: plain JSON in path, query and body, problem details (RFC 9457) for errors."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

from starlette.routing import BaseRoute, Match, Route

from meshcore.asgi.connection import reading
from meshcore.asgi.http_call import HTTPCall
from meshcore.asgi.messages import Receive, Reply, Scope, Send, peer_of, problem_reply, read_body, refused_coding
from meshcore.asgi.rest_arguments import PATH_VALUES, RequestReader, check_json
from meshcore.asgi.rest_streams import StreamEndpoint
from meshcore.asgi.served_call import serve
from meshcore.codec.codec import JSON, Limits
from meshcore.core.description import ComponentDescription, HttpMapping, Method, Shape
from meshcore.core.errors import Code, LocalError
from meshcore.core.suggest import closest
from meshcore.declare.http_mapping import BODY_VERBS
from meshcore.server.server import Server
from meshcore.server.streaming.server import StreamingServer
from meshcore.wire import rest_routing as routing
from meshcore.wire.endpoints import INVOKE
from meshcore.wire.errors import ErrorBody, ErrorCodec, mesh_error_body
from meshcore.wire.headers import METHOD, RequestHeaders
from meshcore.wire.problem_details import CONTENT_TYPE, encode_problem
from meshcore.wire.rest_paths import PathTemplate, request_path
from meshcore.wire.rest_routing import Routes, meant_method, shortened

_NOT_FOUND, _WRONG_VERB = 404, 405
_JSON_TYPE = JSON.content_type.encode()
_PROBLEM_TYPE = CONTENT_TYPE.encode()
_METHOD = METHOD.encode()
_LONGEST_PATH = 200  # characters of one that may be misspelt

# Keys in the ASGI scope.
_PATH = "meshcore.asgi.rest_routes.path"
_MEANT = "meshcore.asgi.rest_routes.meant"


def rest_routes(
    server: StreamingServer,
    components: Iterable[ComponentDescription],
    others: Sequence[Route],
    max_body: int,
    limits: Limits,
) -> list[BaseRoute]:
    """All routes of an application: the other ones, one for each mapped method, and one for what leads nowhere.

    Args:
        server: runs the calls.
        components: whose methods are served.
        others: lead to what is no method, and come first.
        max_body: bytes that a body may have.
        limits: for decoding.

    Raises:
        ConfigurationError: a parameter in path, query or headers has no form as text.
    """
    named = {
        meant_method(component.name, method): RestRoute(
            method,
            method.http,
            (_Endpoint if method.shape is Shape.UNARY else StreamEndpoint)(
                server, method, method.http, max_body, limits
            ),
        )
        for component in components
        for service in component.services
        for method in service.methods
        if method.http is not None
    }
    routes = sorted(named.values(), key=lambda route: route.template.rank)
    return [_Misled(server, named, others), *others, *routes, _Nowhere(server, routes)]


class RestRoute(Route):
    """Leads to one method.

    Attributes:
        template: its path.
    """

    def __init__(self, method: Method, http: HttpMapping, endpoint: _Endpoint | StreamEndpoint) -> None:
        super().__init__(http.path, endpoint, methods=[http.verb], name=str(method))
        self.template = PathTemplate(http.path)
        self.verbs = frozenset(self.methods or ())

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the quoted path. Another verb is not a partial match, since `_Nowhere` answers it."""
        if scope["type"] == "http" and scope["method"] in self.verbs:
            values = self.template.match(_path_of(scope))
            if values is not None:
                return Match.FULL, {"endpoint": self.endpoint, PATH_VALUES: values}
        return Match.NONE, {}


class _Misled(BaseRoute):
    """Refuses a request that names a method, and whose path leads to something else.

    That a value in a path makes it another path (`/users/me`) is seen by clients, as far as they know the paths: not
    those of other components, nor those that something on the way makes of it.

    Args:
        server: whose routes they are.
        named: the routes of methods, by what requests call them.
        others: all other routes.
    """

    def __init__(self, server: Server, named: Mapping[str, RestRoute], others: Iterable[Route]) -> None:
        self._server = server
        self._named = {name.encode(): route for name, route in named.items()}
        self._routes = Routes(
            routing.Route(verb, route.template, route) for route in named.values() for verb in route.verbs
        )
        self._others = frozenset((verb, route.path) for route in others for verb in route.methods or ())

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match such requests."""
        if scope["type"] != "http":
            return Match.NONE, {}
        meant = next((self._named.get(value) for name, value in scope["headers"] if name == _METHOD), None)
        if meant is None:  # nothing is named, or what this server does not know
            return Match.NONE, {}
        path = _path_of(scope)
        if (scope["method"], path) in self._others:
            return Match.FULL, {_MEANT: (meant, "the server itself")}
        found = self._routes.find(scope["method"], path)
        if found is None or found[0] is meant:
            return Match.NONE, {}
        return Match.FULL, {_MEANT: (meant, found[0].name)}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer with 400."""
        meant, found = scope[_MEANT]
        text = f"{meant.name} was called, but {scope['method']} {shortened(_path_of(scope))} is the path of {found}"
        error = LocalError(Code.INVALID_ARGUMENT, f"{text}; nothing was executed")
        status, data = encode_problem(mesh_error_body(error))
        await _refuse(self._server, Reply(status, data, _PROBLEM_TYPE), send)


class _Nowhere(BaseRoute):
    """Answers requests with an unknown path, or with a verb that the path does not support.

    It matches everything, but partially, so that Starlette takes it last.
    """

    def __init__(self, server: Server, routes: Sequence[RestRoute]) -> None:
        self._server = server
        self._routes = routes

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match every request."""
        return (Match.PARTIAL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer with 404 or 405, and with what the client probably meant."""
        path = _path_of(scope)
        verbs = {verb for route in self._routes if route.template.match(path) is not None for verb in route.verbs}
        if path == INVOKE:  # as POST it never comes here
            verbs.add("POST")
        place = shortened(path)
        if verbs:
            allowed = ", ".join(sorted(verbs))
            status, text = _WRONG_VERB, f"{place} takes {allowed}, not {scope['method']}"
            more = [(b"allow", allowed.encode())]
        else:
            status, text, more = _NOT_FOUND, f"nothing is offered at {place}{self._hint(path)}", []
        status, data = encode_problem(mesh_error_body(LocalError(Code.UNIMPLEMENTED, text)), status)
        await _refuse(self._server, Reply(status, data, _PROBLEM_TYPE, more), send)

    def _hint(self, path: str) -> str:
        """The path that was probably meant: its fixed parts are equal or similar."""
        if len(path) > _LONGEST_PATH:
            return ""
        parts = path.split("/")
        found: dict[str, int] = {}
        for route in self._routes:
            names = route.path.split("/")
            if len(names) == len(parts):
                wrong = [(a, b) for a, b in zip(parts, names, strict=True) if a != b and "{" not in b]
                if wrong and all(closest(part, [name]) for part, name in wrong):
                    found[route.path] = len(wrong)
        return f"; did you mean {min(found, key=found.__getitem__)}?" if found else ""


class _Endpoint:
    """The ASGI callable that serves one method.

    Attributes:
        method: which.
        status: of its answers.
        max_body: bytes that a body may have.
        has_body: whether one is read.
        reader: reads arguments.
        write: writes results.
        errors: writes errors.
    """

    def __init__(self, server: Server, method: Method, http: HttpMapping, max_body: int, limits: Limits) -> None:
        self._server = server
        self.method = method
        self.status = http.status
        self.max_body = max_body
        self.has_body = http.verb in BODY_VERBS  # read also if no parameter takes it: so the connection can be kept
        self.reader = RequestReader(method, limits)
        self.write = JSON.encoder(method.returns, validate=True)
        self.errors = ErrorCodec(JSON, method, limits)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        headers = RequestHeaders(scope["headers"])
        return serve(self._server, _Call(headers, peer_of(scope), receive, scope, self), send)


class _Call(HTTPCall):
    """One call.

    Attributes:
        scope: of ASGI.
        endpoint: what all calls of the method have in common.
    """

    scope: Scope
    endpoint: _Endpoint

    @property
    def method(self) -> Method:
        return self.endpoint.method

    @property
    def errors(self) -> ErrorCodec:
        return self.endpoint.errors

    async def body(self) -> bytes:
        endpoint, headers = self.endpoint, self.headers
        if headers.content_coding and endpoint.has_body:
            raise refused_coding(headers.content_coding)
        return await read_body(self.receive, endpoint.max_body, headers.content_length) if endpoint.has_body else b""

    def find(self, body: bytes) -> Method:  # noqa: ARG002 - the path names it
        return self.endpoint.method

    def arguments(self, body: bytes) -> tuple[Any, ...]:
        scope, endpoint = self.scope, self.endpoint
        check_json(self.method, self.headers, body)
        return endpoint.reader.read(scope[PATH_VALUES], scope["query_string"], self.headers, body)

    def result(self, value: Any) -> Reply:
        return Reply(self.endpoint.status, self.endpoint.write(value), _JSON_TYPE)

    def failure(self, error: Exception, told: ErrorBody) -> Reply:
        return problem_reply(self.headers, error, told)


async def _refuse(server: Server, reply: Reply, send: Send) -> None:
    async with reading(server.request_timeout, send):
        await reply.send(send, close=server.draining)


def _path_of(scope: Scope) -> str:
    """The path for matching, computed once for each request."""
    path: str | None = scope.get(_PATH)
    if path is None:
        path = scope[_PATH] = request_path(scope)
    return path
