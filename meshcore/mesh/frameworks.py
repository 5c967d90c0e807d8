"""Meshes in applications of Starlette and FastAPI, and in scripts.

FastAPI itself is not imported: its dependencies are plain functions.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from starlette.requests import HTTPConnection

from meshcore.core.errors import Code, LocalError
from meshcore.core.settings import Settings
from meshcore.declare.injection import module
from meshcore.mesh.mesh import Mesh

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
