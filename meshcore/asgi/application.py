"""The ASGI application of a mesh, generated from its descriptions. `serve/mesh_app.py` starts and stops it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meshcore.asgi.access.operators import Admits, protect
from meshcore.asgi.connection import bounded
from meshcore.asgi.gate import AmbiguousError, Gate
from meshcore.asgi.invoke import Invoke
from meshcore.asgi.messages import Application, Receive, Reply, Scope, Send, is_probe, peer_of
from meshcore.asgi.openapi.documents import document_routes, paths_read
from meshcore.asgi.page.routes import PageSource, page_routes
from meshcore.asgi.page.tap import OpenTap, tap_route
from meshcore.asgi.rest_routes import rest_routes
from meshcore.asgi.stream.endpoint import Stream
from meshcore.asgi.stream_invoke import StreamInvoke
from meshcore.codec.codec import Limits
from meshcore.core.caller import Proof
from meshcore.core.description import ComponentDescription, HostedComponent
from meshcore.core.settings import Settings
from meshcore.declare.health import HealthCheckManager
from meshcore.server.guarded_tasks import guard_tasks
from meshcore.server.request import BodyError
from meshcore.server.streaming.server import StreamingServer
from meshcore.telemetry.history import STEPS
from meshcore.wire.endpoints import (
    CONTRACT,
    INVOKE,
    INVOKE_STREAM,
    LIVEZ,
    PAGE,
    READYZ,
    REPORT,
    STREAM,
    SUMMARY,
    TAPPED,
)
from meshcore.wire.errors import mesh_error_body
from meshcore.wire.headers import RequestHeaders
from meshcore.wire.problem_details import CONTENT_TYPE as PROBLEM_TYPE
from meshcore.wire.problem_details import encode_problem
from meshcore.wire.rest_paths import request_path

_STEPS = re.compile(r"[0-9]{1,4}")

HealthOf = Callable[[HostedComponent], Awaitable[HealthCheckManager.Health]]


class Probes(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoints read from the process that serves them.

    Attributes:
        identity: what `/livez` says of this process, so that it can recognise itself.
        ready: whether calls are welcome.
        health: of a component.
        report: of the whole process.
        contract: what it promises, encoded.
        metrics: content type and text of what it has counted, for what a scraper accepts; None for none.
        summary: what it knows, as JSON; `steps` says with how many steps of its history.
        tap: begins to show calls to a reader; None for no such endpoint.
        page: answers the live page; None for no page.
        operators: judges who may read the endpoints, other than the probes; None for everybody.
        strict: whether the probes tell those who have proven no identity no more than a status.
    """

    identity: dict[str, Any]
    ready: Callable[[], bool]
    health: HealthOf
    report: Callable[[], Awaitable[dict[str, Any]]]
    contract: bytes
    metrics: Callable[[str], Awaitable[tuple[str, str]]] | None = None
    summary: Callable[..., Awaitable[bytes]] | None = None
    tap: OpenTap | None = None
    page: PageSource | None = None
    operators: Admits | None = None
    strict: bool = False

    def tells(self, request: Request) -> bool:
        """Whether the client is told more than a status."""
        return not self.strict or peer_of(request.scope).caller.proof is Proof.CERTIFICATE


class MeshAsgi:
    """Serves `/invoke`, `/stream`, REST routes, documents, `/contract`, health, probes, `/report` and `/metrics`.

    Attributes:
        open_paths: those of the probes.
    """

    def __init__(
        self, server: StreamingServer, hosted: Iterable[HostedComponent], probes: Probes, settings: Settings
    ) -> None:
        hosted = tuple(hosted)
        components = [each.component for each in hosted]
        limits = Limits(max_depth=settings.max_depth, max_items=settings.item_limit)
        self._gate = Gate(settings)
        # The method: to call the object would take 0.1 us more.
        self._invoke = Invoke(server, components, self._gate, settings.max_body, limits).__call__
        self._invoke_stream = StreamInvoke(server, components, self._gate, settings.max_body, limits)
        self._stream = Stream(server, components, self._gate, settings.max_body, limits)
        others = [
            Route(LIVEZ, _livez(probes)),
            Route(READYZ, _readyz(probes)),
            Route(REPORT, _report(probes)),
            Route(CONTRACT, _contract(probes)),
            *(Route(each.health_path, _health(probes, each)) for each in hosted if each.health_path),
            *(document_routes(components, settings.version) if settings.documents else ()),
            *_monitoring(probes, components, settings.metrics),
        ]
        page = page_routes(probes.page) if probes.page is not None and PAGE not in paths_read(components) else []
        others += page
        # Another site could give its own name this address, and would then be of the same origin for a browser, which
        # sends nothing with a plain GET that would tell it from others. So nobody reads under such a name the page, nor
        # what tells of the server, unless that is closed anyway.
        self._for_browsers = frozenset(route.path for route in page)
        telling = {REPORT, SUMMARY, TAPPED, settings.metrics} if probes.operators is None else set[str]()
        self._telling = frozenset(telling - paths_read(components))
        for route in others:
            route.app = bounded(route.app, settings.request_timeout)
        if probes.tap is not None:
            others.append(tap_route(probes.tap))
        # Who probes an instance knows only its address.
        self._probes = frozenset({LIVEZ, READYZ, *(each.health_path for each in hosted)})
        if probes.operators is not None:
            for route in others:
                if route.path not in self._probes:
                    protect(route, probes.operators)
        routes = rest_routes(server, components, others, settings.max_body, limits)
        self._router = Starlette(debug=settings.debug, routes=routes)
        self._server = server
        # Who probes an instance knows only its address.
        self.open_paths = frozenset({LIVEZ, READYZ, *(each.health_path for each in hosted if each.health_path)})

    def endpoint(self, scope: Scope) -> Application:
        """The application that serves a request. `POST /invoke` does not pass through Starlette."""
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            path = path.removeprefix(scope.get("root_path", ""))
            if path == INVOKE:
                return self._invoke
            if path == INVOKE_STREAM:
                return self._invoke_stream
        if scope["type"] == "websocket" and request_path(scope) == STREAM:
            return self._stream
        return self._routed

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is not `/invoke`, if the gate lets it pass."""
        if scope["type"] == "http":
            probe = self._gate.checks_hosts and is_probe(scope, self.open_paths)
            try:
                headers, path = RequestHeaders(scope["headers"]), request_path(scope)
                # Programs that read these, such as Prometheus, may know a server by any name. A browser names no site
                # here, but it always sends its languages.
                known, private = path in self._for_browsers, path in self._telling and "accept-language" in headers
                self._gate.check(scope["method"], headers, any_host=probe, known_host=known, private_host=private)
            except BodyError as error:
                status, data = encode_problem(mesh_error_body(error), error.status)
                close = self._server.draining or isinstance(error, AmbiguousError)
                await Reply(status, data, PROBLEM_TYPE.encode()).send(send, close=close)
                return
        await self._router(scope, receive, send)


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _livez(probes: Probes) -> Callable[[Request], Awaitable[Response]]:
    async def livez(request: Request) -> Response:
        return _json({"status": "ok", **(probes.identity if probes.tells(request) else {})})

    return livez


def _readyz(probes: Probes) -> Callable[[Request], Awaitable[Response]]:
    async def readyz(request: Request) -> Response:  # noqa: ARG001
        return _json({"status": "ready"}) if probes.ready() else _json({"status": "not ready"}, 503)

    return readyz


def _health(probes: Probes, hosted: HostedComponent) -> Callable[[Request], Awaitable[Response]]:
    async def health(request: Request) -> Response:
        guard_tasks()
        found = await probes.health(hosted)
        told = found.to_plain() if probes.tells(request) else {"status": found.to_plain()["status"]}
        return _json(told, found.status.http_status)

    return health


def _report(probes: Probes) -> Callable[[Request], Awaitable[Response]]:
    async def report(request: Request) -> Response:  # noqa: ARG001
        return _json(await probes.report())

    return report


def _monitoring(probes: Probes, components: Iterable[ComponentDescription], path: str) -> list[Route]:
    """The routes of what was counted."""
    found: list[Route] = []
    if (read := probes.metrics) is not None and path and path not in paths_read(components):

        async def metrics(request: Request) -> Response:
            form, text = await read(request.headers.get("accept", ""))
            return Response(text, headers={"content-type": form})

        found.append(Route(path, metrics))
    if (told := probes.summary) is not None:

        async def summary(request: Request) -> Response:
            asked = request.query_params.get("history", "")
            steps = 0 if asked == "no" else min(int(asked), STEPS) if _STEPS.fullmatch(asked) else STEPS
            return Response(await told(steps=steps), media_type="application/json")

        found.append(Route(SUMMARY, summary))
    return found


def _contract(probes: Probes) -> Callable[[Request], Awaitable[Response]]:
    async def contract(request: Request) -> Response:  # noqa: ARG001
        return Response(probes.contract, media_type="application/json")

    return contract
