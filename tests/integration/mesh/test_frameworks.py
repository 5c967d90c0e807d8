"""A mesh inside of applications, scripts and notebooks that are there already."""

from __future__ import annotations

import ast
import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aiohttp
import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from examples.orders import OrdersModule, PricingService, WarehouseComponent
from meshcore import (
    AuthorizationError,
    Code,
    LocalError,
    Mesh,
    MeshApp,
    MeshError,
    RemoteError,
    Settings,
    client_module,
    mesh_lifespan,
    mesh_of,
    problem_details,
    provide,
)
from meshcore.asgi.messages import Application
from meshcore.testing.servers import served
from tests.support.processes import ROOT

Pricing = Annotated[PricingService, Depends(provide(PricingService))]


@asynccontextmanager
async def warehouse() -> AsyncIterator[Settings]:
    """The example, served; settings that find it."""

    def make(url: str) -> MeshApp:
        return MeshApp(OrdersModule, settings=Settings(registry="local:", advertise_url=url))

    async with served(make) as url:
        yield Settings(registry=f"static:warehouse=rest({url})")


async def ask(url: str) -> Any:
    """The JSON there."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200, await response.text()
        return await response.json()


def with_routes(app: FastAPI) -> FastAPI:
    """Routes of the application's own that call into the mesh."""

    @app.get("/own/{sku}")
    async def own(sku: str, pricing: Pricing) -> str:
        return str(await pricing.price(sku))

    @app.get("/state")
    async def state(request: Request) -> str:
        return type(mesh_of(request)).__name__

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, pricing: Pricing) -> None:
        await websocket.accept()
        await websocket.send_text(str(await pricing.price("bolt")))
        await websocket.close()

    return app


async def test_fastapi_calls_services_and_serves_none() -> None:
    """A dependency hands out proxies, to routes and WebSockets; the mesh lives as long as the application."""
    async with warehouse() as settings:

        def make(url: str) -> Application:
            lifespan = mesh_lifespan(client_module(WarehouseComponent), settings=settings)
            return with_routes(FastAPI(lifespan=lifespan))

        async with served(make) as url, aiohttp.ClientSession() as session:
            assert await ask(f"{url}/own/bolt") == "0.15"
            assert await ask(f"{url}/state") == "Mesh"
            async with session.ws_connect(f"{url}/socket") as websocket:
                assert await websocket.receive_str() == "0.15"


async def test_fastapi_serves_a_mesh_below_a_prefix() -> None:
    """Mounted with its lifespan, alone or inside of the application's own: mesh and application both work."""
    events: list[str] = []

    def make(url: str) -> Application:
        mesh_app = MeshApp(OrdersModule, settings=Settings(registry="local:", advertise_url=f"{url}/mesh"))

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
            events.append("application up")
            async with mesh_app.lifespan(app):
                events.append(mesh_app.mesh.runtime.identity)
                yield {"own": "state"}
            events.append("application down")

        app = with_routes(FastAPI(lifespan=lifespan))
        app.mount("/mesh", mesh_app)
        return app

    async with served(make) as url:
        assert await ask(f"{url}/own/nut") == "0.08"
        assert await ask(f"{url}/mesh/pricing/prices/lamp") == "39.00"
        assert (await ask(f"{url}/mesh/livez"))["instance"] == events[1]
        settings = Settings(registry=f"static:warehouse=dispatch-msgpack({url}/mesh),rest({url}/mesh)")
        async with Mesh(client_module(WarehouseComponent), settings=settings) as mesh:
            for channel in ("dispatch-msgpack", "rest"):
                pricing = await mesh.get_service(PricingService, preferred_channel=channel)
                assert str(await pricing.price("nut")) == "0.08"
    assert events[::2] == ["application up", "application down"]


@pytest.mark.parametrize("form", ["mesh_lifespan", "MeshApp.lifespan", "own"])
async def test_a_mounted_application_has_the_mesh_of_the_one_around_it(form: str) -> None:
    """A server tells it of no lifespan: what that of the outer one yields is in the scope of its requests."""

    def make(url: str) -> Application:
        settings = Settings(registry="local:", advertise_url=f"{url}/mesh")
        mesh_app = MeshApp(OrdersModule, settings=settings)

        @asynccontextmanager
        async def own(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
            async with mesh_app.lifespan(app) as state:
                yield {"own": "state", **state}

        lifespans = {"MeshApp.lifespan": mesh_app.lifespan, "own": own}
        lifespan = lifespans.get(form) or mesh_lifespan(OrdersModule, settings=settings)
        app = FastAPI(lifespan=lifespan)
        app.mount("/inner", with_routes(FastAPI()))
        return app

    async with served(make) as url, aiohttp.ClientSession() as session:
        assert await ask(f"{url}/inner/own/bolt") == "0.15"
        assert await ask(f"{url}/inner/state") == "Mesh"
        async with session.ws_connect(f"{url}/inner/socket") as websocket:
            assert await websocket.receive_str() == "0.15"


async def test_starlette_finds_the_mesh_of_a_request() -> None:
    """`mesh_of` and `provide` work in Starlette's plain endpoints as well."""

    async def price(request: Request) -> Response:
        pricing = await provide(PricingService)(request)
        assert pricing is await mesh_of(request).get_service(PricingService)
        return JSONResponse(str(await pricing.price(request.path_params["sku"])))

    def make(url: str) -> Application:
        mesh_app = MeshApp(OrdersModule, settings=Settings(registry="local:", advertise_url=f"{url}/mesh"))
        return Starlette(
            routes=[Mount("/mesh", mesh_app), Route("/price/{sku}", price)],
            lifespan=mesh_app.lifespan,
        )

    async with served(make) as url:
        assert await ask(f"{url}/price/shelf") == "24.90"
        assert await ask(f"{url}/mesh/pricing/prices/shelf") == "24.90"


def test_an_application_without_a_mesh_says_how_to_get_one() -> None:
    """Without a lifespan of a mesh the error names the remedy."""
    request = Request({"type": "http", "headers": [], "app": FastAPI()})
    with pytest.raises(LocalError, match=r"FastAPI\(lifespan=mesh_lifespan\(Module\)\)"):
        mesh_of(request)


async def test_a_mesh_that_has_ended_is_offered_no_more() -> None:
    """After its lifespan an application has no mesh."""
    app = FastAPI()
    async with mesh_lifespan(client_module(WarehouseComponent), settings=Settings(registry="local:"))(app):
        assert isinstance(app.state.mesh, Mesh)
    assert app.state.mesh is None


async def test_a_notebook_starts_and_stops_a_mesh() -> None:
    """Cells with `await` at their top level, each run in a task of its own, share a mesh."""
    cells = [
        "from examples.orders import PricingService, WarehouseComponent\nfrom meshcore import Mesh, client_module",
        "mesh = await Mesh(client_module(WarehouseComponent), settings=settings).start()",
        "price = await (await mesh.get_service(PricingService)).price('bolt')",
        "await mesh.stop()",
    ]
    async with warehouse() as settings:
        names: dict[str, Any] = {"settings": settings}
        for cell in cells:
            done = eval(compile(cell, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            if inspect.isawaitable(done):
                await asyncio.ensure_future(done)
        assert str(names["price"]) == "0.15"
        with pytest.raises(LocalError, match="has stopped"):
            names["mesh"].runtime  # noqa: B018 - it is the property that complains


def test_fastapi_is_not_loaded() -> None:
    """What is made for FastAPI does not load it."""
    code = (
        "import sys, meshcore.app, meshcore.asgi.openapi.documents as d\n"
        "assert d._static()\n"
        "print('fastapi' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("of", [FastAPI, Starlette])
async def test_errors_of_calls_are_problem_details(of: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One line gives declared exceptions and mesh errors their status; texts with addresses stay in the log."""
    raised: dict[str, Exception] = {
        "remote": RemoteError(Code.NOT_FOUND, "no such order", details={"order": 7}),
        "pause": RemoteError(Code.UNAVAILABLE, "later", retry_after=2.5, processed=False),
        "unknown": AuthorizationError(Code.UNAUTHENTICATED, "who is it?"),
        "odd": MeshError(Code.ABORTED, "odd", details={"object": object()}),
        "own": KeyError("not of the mesh"),
    }

    async with warehouse() as settings:

        def make(url: str) -> Application:
            app = of(lifespan=mesh_lifespan(client_module(WarehouseComponent), settings=settings))
            problem_details(app)

            async def price(request: Request) -> Response:
                pricing = await provide(PricingService)(request)
                return JSONResponse(str(await pricing.price(request.path_params["sku"])))

            async def fail(request: Request) -> Response:
                raise raised[request.path_params["kind"]]

            async def away(request: Request) -> Response:
                pricing = await provide(PricingService, "dispatch-json")(request)
                return JSONResponse(str(await pricing.price("bolt")))

            for path, endpoint in (("/price/{sku}", price), ("/fail/{kind}", fail), ("/away", away)):
                app.add_route(path, endpoint)
            return app

        async with served(make) as url, aiohttp.ClientSession() as session:

            async def problem(path: str) -> tuple[Any, Any]:
                async with session.get(f"{url}{path}") as response:
                    assert response.content_type == "application/problem+json"
                    found = await response.json()
                    assert found["status"] == response.status
                    return found, response.headers

            assert await ask(f"{url}/price/bolt") == "0.15"
            found, _ = await problem("/price/none")
            assert (found["status"], found["exception"], found["code"]) == (404, "UnknownProduct", "not_found")
            assert found["fields"] == {"sku": "none"}
            found, _ = await problem("/fail/remote")
            assert (found["status"], found["detail"], found["details"]) == (404, "no such order", {"order": 7})
            found, headers = await problem("/fail/pause")
            assert (found["status"], found["processed"], headers["retry-after"]) == (503, False, "3")
            found, headers = await problem("/fail/unknown")
            assert (found["status"], headers["www-authenticate"]) == (401, "Bearer")
            found, _ = await problem("/fail/odd")
            assert (found["status"], "details" in found) == (409, False)
            found, _ = await problem("/away")
            assert found["status"] == 503
            assert found["detail"] == f"a call of this request failed; the log has it as {found['details']['call']}"
            assert "dispatch-json" not in str(found)
            assert f"GET /away failed as {found['details']['call']}" in caplog.messages
            async with session.get(f"{url}/fail/own") as response:
                assert (response.status, await response.text()) == (500, "Internal Server Error")
