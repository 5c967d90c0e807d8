"""The document of what REST offers, and the page that shows it, from a running server."""

from __future__ import annotations

import asyncio
import json
import sys
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fastapi import FastAPI
from openapi_spec_validator import validate

from examples.orders import OrdersModule
from meshcore import (
    AbstractComponent,
    Body,
    Component,
    MeshApp,
    Service,
    Settings,
    component,
    get,
    implementation,
    module,
    post,
    rest,
    service,
)
from meshcore.testing.servers import served
from tests.integration.serve.browsers.browser import browsing


@asynccontextmanager
async def orders(**settings: Any) -> AsyncIterator[str]:
    """The example, served."""

    def make(url: str) -> MeshApp:
        return MeshApp(OrdersModule, settings=Settings(registry="local:", advertise_url=url, **settings))

    async with served(make) as url:
        yield url


async def fetch(url: str) -> tuple[int, str, str]:
    """Status, content type and text."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, response.content_type, await response.text()


async def test_the_document_is_served_and_valid() -> None:
    """`/openapi.json` is OpenAPI 3.1 with all methods that have a path; its version is the setting."""
    async with orders(version="1.2.3") as url:
        status, content_type, text = await fetch(f"{url}/openapi.json")
        document = json.loads(text)
        assert (status, content_type) == (200, "application/json")
        validate(document)
        assert document["info"]["version"] == "1.2.3"
        assert document["servers"] == [{"url": "/"}]
        operations = {each["operationId"] for path in document["paths"].values() for each in path.values()}
        assert {"orders.place", "orders.search", "stock.restock", "pricing.price"} <= operations
        assert len(operations) == 11


async def test_documents_can_be_switched_off() -> None:
    """Without the setting `documents` there are neither the document nor the page."""
    async with orders(documents=False) as url:
        for path in ("/openapi.json", "/docs", "/docs/start.js"):
            assert (await fetch(url + path))[0] == 404


async def test_where_the_application_is_mounted_the_document_says_so() -> None:
    """Below a prefix the document's server has it, and the page's parts are found."""

    def make(url: str) -> FastAPI:
        mesh_app = MeshApp(OrdersModule, settings=Settings(registry="local:", advertise_url=f"{url}/a/b"))
        app = FastAPI(lifespan=mesh_app.lifespan)
        app.mount("/a/b", mesh_app)
        return app

    async with served(make) as url:
        assert json.loads((await fetch(f"{url}/a/b/openapi.json"))[2])["servers"] == [{"url": "/a/b"}]
        assert 'src="docs/swagger-ui-bundle.js"' in (await fetch(f"{url}/a/b/docs"))[2]
        assert (await fetch(f"{url}/a/b/docs/swagger-ui-bundle.js"))[:2] == (200, "text/javascript")
        assert (await fetch(f"{url}/a/b/docs/..%2f__init__.py"))[0] == 404
        assert (await fetch(f"{url}/a/b/docs/index.html"))[0] == 404


async def test_without_the_extra_the_page_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Swagger UI is not installed, `/docs` tells how to get it."""
    monkeypatch.setattr("meshcore.asgi.openapi.documents._PACKAGE", "there_is_no_such_package")
    async with orders() as url:
        status, _, text = await fetch(f"{url}/docs")
        assert (status, 'pip install "meshcore-runtime[docs]"' in text) == (501, True)
        assert (await fetch(f"{url}/docs/swagger-ui.css"))[0] == 404


@service()
@rest("/docs")
class Papers(Service):
    @get("/{number}")
    @abstractmethod
    async def read(self, number: str) -> str: ...

    @post("")
    @abstractmethod
    async def write(self, text: Body[str]) -> str: ...


@component(services=[Papers])
class PapersComponent(Component): ...


@implementation()
class PapersImpl(Papers):
    async def read(self, number: str) -> str:
        return f"paper {number}"

    async def write(self, text: str) -> str:
        return text


@implementation()
class PapersComponentImpl(AbstractComponent, PapersComponent): ...


@service()
class Manual(Service):
    @get("/docs")
    @abstractmethod
    async def page(self) -> str: ...

    @get("/docs/start.js")
    @abstractmethod
    async def begin(self) -> str: ...


@component(services=[Manual])
class ManualComponent(Component): ...


@implementation()
class ManualImpl(Manual):
    async def page(self) -> str:
        return "mine"

    async def begin(self) -> str:
        return "mine too"


@implementation()
class ManualComponentImpl(AbstractComponent, ManualComponent): ...


def serving(*classes: type) -> AbstractAsyncContextManager[str]:
    """A server of these and of nothing else that is declared here; its URL."""
    only = module(provides=classes)(type("Only", (), {"__module__": "nowhere"}))
    return served(lambda url: MeshApp(only, settings=Settings(registry="local:", advertise_url=url)))


async def test_the_page_leaves_the_user_s_paths_alone() -> None:
    """Below `/docs` only its parts are the page's, and another verb at its path does not take its place."""
    async with serving(PapersImpl, PapersComponentImpl) as url, aiohttp.ClientSession() as session:
        assert await fetch(f"{url}/docs/7") == (200, "application/json", '"paper 7"')
        assert (await fetch(f"{url}/docs"))[:2] == (200, "text/html")
        assert (await fetch(f"{url}/docs/start.js"))[:2] == (200, "text/javascript")
        async with session.post(f"{url}/docs", json="a text") as response:
            assert (response.status, await response.json()) == (200, "a text")


async def test_a_method_of_the_user_s_takes_the_place_of_the_page() -> None:
    """Then its parts are nowhere either; the document stays."""
    async with serving(ManualImpl, ManualComponentImpl) as url:
        assert (await fetch(f"{url}/docs"))[2] == '"mine"'
        assert (await fetch(f"{url}/docs/start.js"))[2] == '"mine too"'
        assert (await fetch(f"{url}/docs/swagger-ui.css"))[0] == 404
        assert (await fetch(f"{url}/openapi.json"))[0] == 200


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Whatever schemathesis sends, there is no server error, and each answer is one that the document describes."""
    left_out = (
        # JSON Schema takes 1.0 for an integer, msgspec does not; and it takes numbers for decimals.
        "positive_data_acceptance",
        "negative_data_rejection",
        # An order that is cancelled is still there.
        "use_after_free",
        "ensure_resource_availability",
    )
    async with orders() as url:
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{url}/openapi.json", "--seed", "1"),
            *("--checks", "all", "--exclude-checks", ",".join(left_out), "--max-examples", "20"),
            *("--continue-on-failure", "--no-color", "--warnings", "off"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 100)
        assert process.returncode == 0, output.decode()
        assert b"Tested: 11" in output


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_the_page_works_in_a_browser(tmp_path: Path) -> None:
    """Without the internet the page loads, lists the operations, tries one out, and has nothing to complain about."""
    async with orders() as url, browsing(tmp_path) as page:
        await page.open(f"{url}/docs")
        await page.wait_for("document.querySelectorAll('.opblock').length === 11")
        text = await page.evaluate("document.body.innerText")
        assert "/orders/{order_id}" in text
        assert "takes orders" in text
        await page.click(".opblock[id^=operations-pricing][id$=price] .opblock-summary-control")
        await page.type(".parameters input", "bolt")
        await page.click("button.execute")
        answer = "document.querySelector('.live-responses-table .response')?.innerText"
        await page.wait_for(f"{answer}?.includes('200')")
        assert "0.15" in await page.evaluate(answer)
        assert page.complaints == []
        assert f"{url}/pricing/prices/bolt" in page.requested
        assert [asked for asked in page.requested if not asked.startswith((url, "data:"))] == []
