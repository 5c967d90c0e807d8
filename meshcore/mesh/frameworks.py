"""Meshes in applications of Starlette and FastAPI, and in scripts.

FastAPI itself is not imported: its dependencies are plain functions.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.requests import HTTPConnection

from meshcore.asgi.messages import Application, Receive, Reply, Scope, Send
from meshcore.codec.codec import JSON
from meshcore.codec.declared_exceptions import declared_exception
from meshcore.codec.errors import encodable
from meshcore.core.errors import Code, CommunicationError, LocalError, MeshError
from meshcore.core.settings import Settings
from meshcore.declare.injection import module
from meshcore.mesh.mesh import Mesh
from meshcore.wire.errors import ErrorBody, mesh_error_body
from meshcore.wire.headers import write_retry_after
from meshcore.wire.problem_details import CONTENT_TYPE, encode_problem

log = logging.getLogger(__name__)

T = TypeVar("T")

_NAME = "mesh"  # in the state of an application
_NO_MODULE = f"{__name__}.client"  # the name of no Python module, so that no declared class belongs to the client's


def client_module(*components: type) -> type:
    """Make a module for a mesh that only calls services: `Mesh(client_module(OrdersComponent))`.

    Args:
        components: classes decorated with `@component`, whose services are called.
    """
    return module(components=components)(type("Client", (), {"__module__": _NO_MODULE}))


def mesh_lifespan(
    module: type, *, settings: Settings | None = None
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Mesh]]]:
    """Make a lifespan for an application that only calls services: `FastAPI(lifespan=mesh_lifespan(Client))`.

    An application that serves as well uses `MeshApp.lifespan`. The lifespan yields its state, in which mounted
    applications find the mesh.

    Args:
        module: a class decorated with `@module`.
        settings: default: those of the environment and of `meshcore.toml` or `pyproject.toml` in this directory.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[dict[str, Mesh]]:
        async with Mesh(module, settings=settings) as mesh:
            with mesh_in_state(app, mesh) as state:
                yield state

    return lifespan


@contextmanager
def mesh_in_state(app: Any, mesh: Mesh) -> Generator[dict[str, Mesh]]:
    """While the context lasts, the mesh is in `app.state.mesh`, where requests find it; if the object has a `state`.

    A lifespan has to yield what this context gives. The server puts it into the scope of each request, also of requests
    to mounted applications, which do not share `app.state`.
    """
    lifespan_state = {_NAME: mesh}
    state = getattr(app, "state", None)
    if state is None:
        yield lifespan_state
        return
    before = getattr(state, _NAME, None)
    setattr(state, _NAME, mesh)
    try:
        yield lifespan_state
    finally:
        setattr(state, _NAME, before)


def mesh_of(request: HTTPConnection) -> Mesh:
    """The mesh of the application that gets a request or WebSocket, or of the one in which that is mounted.

    Raises:
        LocalError: the application has none.
    """
    own = getattr(getattr(request.scope.get("app"), "state", None), _NAME, None)
    mesh = own or request.scope.get("state", {}).get(_NAME)
    if not isinstance(mesh, Mesh):
        raise LocalError(
            Code.FAILED_PRECONDITION,
            "this application has no mesh: give it the lifespan of one, FastAPI(lifespan=mesh_lifespan(Module)) or "
            "FastAPI(lifespan=mesh_app.lifespan), or enter that in its own: `async with mesh_app.lifespan(app) as "
            "state`, and `yield state` if this application is mounted in that one",
        )
    return mesh


def provide(interface: Callable[..., T], preferred_channel: str = "") -> Callable[[HTTPConnection], Awaitable[T]]:
    """Make a FastAPI dependency that gives a service: `greeting: Annotated[Greeting, Depends(provide(Greeting))]`.

    In Starlette call it: `greeting = await provide(Greeting)(request)`.

    Args:
        interface: a class decorated with `@service`.
        preferred_channel: as in `Mesh.get_service`.
    """

    async def provided(request: HTTPConnection) -> T:
        return await mesh_of(request).get_service(interface, preferred_channel)

    return provided


def problem_details(app: Any) -> None:
    """Let an application answer errors of calls as problem details (RFC 9457): `problem_details(app)`.

    It covers `MeshError` and the exceptions that the interfaces of the application's mesh declare, with the status of
    their code. What kept a call from its server is logged with an id, and the answer has the id: it may contain
    addresses of servers. Exception handlers of the application come first, and other exceptions pass.

    Args:
        app: of FastAPI or Starlette, before it starts.
    """
    app.add_middleware(_ProblemDetails)


class _ProblemDetails:
    """A middleware: it stands outside of the application's exception handlers."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noting_send(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except Exception as error:
            body = None if started else _told(error, scope)
            if body is None:
                raise
            try:
                status, data = encode_problem(body)
            except (TypeError, ValueError):  # details that somebody has added, which JSON cannot express
                body.details = {}
                status, data = encode_problem(body)
            more = write_retry_after(body.retry_after)
            if status == HTTPStatus.UNAUTHORIZED:  # which must say how to authenticate (RFC 9110, 15.5.2)
                more.append((b"www-authenticate", b"Bearer"))
            await Reply(status, data, CONTENT_TYPE.encode(), more).send(send, close=False)


def _told(error: Exception, scope: Scope) -> ErrorBody | None:
    """What the client is told of an error; None if it is none of a call."""
    match error:
        case LocalError() | CommunicationError():
            id_ = secrets.token_hex(8)
            where = f"{scope['method']} {scope['path']}"
            log.error("%s failed as %s", where, id_, exc_info=error, extra={"call": id_})
            body = mesh_error_body(error)
            body.message, body.details = f"a call of this request failed; the log has it as {id_}", {"call": id_}
            return body
        case MeshError():
            return mesh_error_body(error)
        case _:
            return _declared(error, scope)


def _declared(error: Exception, scope: Scope) -> ErrorBody | None:
    try:
        components = mesh_of(HTTPConnection(scope)).runtime.catalog.described
    except LocalError:
        return None
    classes = {
        cls
        for component in components
        for service in component.services
        for method in service.methods
        for cls in method.raises
    }
    cls = next((cls for cls in type(error).__mro__ if cls in classes), None)
    if cls is None:
        return None
    declared = declared_exception(cls)
    fields = msgspec.Raw(JSON.encoder(Any)(declared.fields_of(error)))
    return ErrorBody(declared.code.value, encodable(str(error)), type=declared.name, fields=fields)
