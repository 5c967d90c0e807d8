"""A mesh inside of what is there already: applications of Starlette and FastAPI, scripts, notebooks.

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

_NAME = "mesh"  # in the application's state
_NOWHERE = f"{__name__}.client"  # no Python module, so nothing that is declared anywhere belongs to it


def client_module(*components: type) -> type:
    """A module for a mesh that only calls: `Mesh(client_module(OrdersComponent))`.

    Args:
        components: whose services are called, classes decorated with `@component`.
    """
    return module(components=components)(type("Client", (), {"__module__": _NOWHERE}))


def mesh_lifespan(
    module: type, *, settings: Settings | None = None
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Mesh]]]:
    """A lifespan for an application that calls services, and serves none: `FastAPI(lifespan=mesh_lifespan(Client))`.

    For one that serves as well there is `MeshApp.lifespan`. What it gives is the lifespan's state: the applications
    that are mounted in this one find the mesh there.

    Args:
        module: a class decorated with `@module`.
        settings: default: those of the environment and of `meshcore.toml` or `pyproject.toml` in this directory.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[dict[str, Mesh]]:
        async with Mesh(module, settings=settings) as mesh:
            with offered(app, mesh) as state:
                yield state

    return lifespan


@contextmanager
def offered(app: Any, mesh: Mesh) -> Generator[dict[str, Mesh]]:
    """Let an application's requests find the mesh meanwhile, in `app.state.mesh`; any other object is left alone.

    What it gives is for the lifespan to yield: it is in the scope of requests to mounted applications as well, of which
    a server knows nothing.
    """
    for_scopes = {_NAME: mesh}
    state = getattr(app, "state", None)
    if state is None:
        yield for_scopes
        return
    before = getattr(state, _NAME, None)
    setattr(state, _NAME, mesh)
    try:
        yield for_scopes
    finally:
        setattr(state, _NAME, before)


def mesh_of(request: HTTPConnection) -> Mesh:
    """The mesh of the application that a request or WebSocket belongs to, or of the one in which that is mounted.

    Raises:
        LocalError: it has none.
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
    """A dependency for FastAPI that is a service: `greeting: Annotated[Greeting, Depends(provide(Greeting))]`.

    With Starlette it is called: `greeting = await provide(Greeting)(request)`.

    Args:
        interface: a class decorated with `@service`.
        preferred_channel: as in `Mesh.get_service`.
    """

    async def provided(request: HTTPConnection) -> T:
        return await mesh_of(request).get_service(interface, preferred_channel)

    return provided
