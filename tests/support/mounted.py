"""A mesh inside of applications that are more than a mesh: one of Starlette, two of FastAPI."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from meshcore import MeshApp
from meshcore.asgi.messages import Receive, Scope, Send
from tests.support.ledger import LedgerModule
from tests.support.probe import Probe, ProbeModule


class Guarded:
    """Lets only calls with the right token pass."""

    def __init__(self, app: MeshApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI callable."""
        headers = dict(scope["headers"])
        if scope["path"].endswith("/invoke") and headers.get(b"authorization") != b"Bearer secret":
            await PlainTextResponse("no token", 401)(scope, receive, send)
            return
        await self.app(scope, receive, send)


async def own(request: Request) -> Response:
    """A route beside the mesh."""
    return PlainTextResponse(f"hello {request.query_params['name']}")


guarded = MeshApp(ProbeModule)
starlette_app = Starlette(routes=[Mount("/mesh", Guarded(guarded)), Route("/own", own)], lifespan=guarded.lifespan)

mesh_app = MeshApp(ProbeModule)
fastapi_app = FastAPI(lifespan=mesh_app.lifespan)
fastapi_app.mount("/inner/mesh", mesh_app)


@fastapi_app.get("/own")
async def own_fast(name: str) -> str:
    """A route beside the mesh, which calls into it."""
    probe = await mesh_app.mesh.get_service(Probe)
    return await probe.echo(f"hello {name}")


ledger = MeshApp(LedgerModule)
ledger_app = FastAPI(lifespan=ledger.lifespan)
ledger_app.mount("/", ledger)
