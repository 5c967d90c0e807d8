"""The REST channel as a client of servers that are not ours: FastAPI under uvicorn, and aiohttp."""

from __future__ import annotations

import asyncio
import json
import socket
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import fastapi
import pytest
import uvicorn
from aiohttp import web
from fastapi import FastAPI, Header, Query, Response

import meshcore
from meshcore import (
    AuthorizationError,
    Body,
    Code,
    CommunicationError,
    Component,
    HeaderParam,
    Mesh,
    RemoteError,
    Service,
    Settings,
    client_module,
    component,
    delete,
    get,
    patch,
    post,
    put,
    rest,
    service,
)

JSON = "application/json"


@dataclass
class Book:
    isbn: str
    title: str
    published: date | None = None
    tags: tuple[str, ...] = ()


@service()
@rest("/api/v1")
class Library(Service):
    """What the other server's documentation says it offers."""

    @abstractmethod
    @get("/books")
    async def search(
        self, tag: list[str], limit: int = 10, *, descending: Annotated[bool, meshcore.Query(alias="desc")] = False
    ) -> list[Book]: ...

    @abstractmethod
    @get("/books/{isbn}")
    async def find(self, isbn: str, accept_language: HeaderParam[str] = "en") -> Book: ...

    @abstractmethod
    @post("/books", status=201)
    async def add(self, book: Book) -> Book: ...

    @abstractmethod
    @put("/books/{isbn}/cover")
    async def cover(self, isbn: str, colour: Body[str | None] = None) -> str | None: ...

    @abstractmethod
    @patch("/books/{isbn}")
    async def change(self, isbn: str, changes: Body[dict[str, Any]]) -> Book: ...

    @abstractmethod
    @delete("/books/{isbn}", status=204)
    async def remove(self, isbn: str) -> None: ...

    @abstractmethod
    @get("/fail/{how}")
    async def fail(self, how: str) -> str: ...


@component(services=[Library])
class LibraryComponent(Component): ...


PLAIN_BOOK = {"isbn": "1/2", "title": "Grüße", "published": "2026-01-31", "tags": ["a", "b"], "not_ours": {"x": 1}}
PROBLEM_BODY = {"type": "https://example.org/full", "title": "Shelf full", "detail": "No room for 1/2", "status": 409}

# Status, content type, text and more headers of answers that are no success, or not what was promised.
ANSWERS: dict[str, tuple[int, str, str, dict[str, str]]] = {
    "problem": (409, "application/problem+json", json.dumps(PROBLEM_BODY), {}),
    "error": (404, JSON, json.dumps({"error": {"code": 17, "message": "No such book"}}), {}),
    "detail": (403, JSON, json.dumps({"detail": "Not for you"}), {}),
    "html": (502, "text/html", "<h1>Bad gateway</h1>", {}),
    "busy": (503, "text/plain", "Come back", {"Retry-After": "7"}),
    "wrong": (200, JSON, "17", {}),
}

fast = FastAPI()


@fast.get("/api/v1/books")
def search(tag: Annotated[list[str], Query()], limit: int = 10, desc: bool = False) -> list[dict[str, Any]]:  # noqa: FBT001, FBT002
    """Lists in the query."""
    return [{"isbn": each, "title": f"{limit} {desc}"} for each in tag]


@fast.get("/api/v1/books/{isbn:path}")
def find(isbn: str, accept_language: Annotated[str, Header()]) -> dict[str, Any]:
    """A header."""
    return {**PLAIN_BOOK, "isbn": isbn, "title": accept_language}


@fast.post("/api/v1/books", status_code=201)
def add(book: Book) -> Book:
    """A body."""
    return book


@fast.put("/api/v1/books/{isbn}/cover")
async def cover(isbn: str, colour: Annotated[str | None, fastapi.Body()] = None) -> str | None:
    """An optional body."""
    return colour


@fast.patch("/api/v1/books/{isbn}")
def change(isbn: str, changes: dict[str, Any]) -> dict[str, Any]:
    """A body of any form."""
    return {"isbn": isbn, "title": "old", **changes}


@fast.delete("/api/v1/books/{isbn}", status_code=204)
def remove(isbn: str) -> None:
    """An answer without a body."""


@fast.get("/api/v1/fail/{how}")
def fail(how: str) -> Response:
    """Errors."""
    status, content_type, text, headers = ANSWERS[how]
    return Response(text, status, headers, content_type)


@asynccontextmanager
async def fastapi_server() -> AsyncIterator[str]:
    """FastAPI, under uvicorn."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(fast, log_config=None, lifespan="off", ws="none"))
    task = asyncio.create_task(server._serve([listener]))  # `serve` would take the process's signals
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await task


routes = web.RouteTableDef()


@routes.get("/api/v1/books")
async def search_plain(request: web.Request) -> web.Response:
    """Lists in the query; errors as FastAPI has them."""
    if "tag" not in request.query:
        return web.json_response({"detail": [{"loc": ["query", "tag"], "msg": "Field required"}]}, status=422)
    text = f"{request.query.get('limit', 10)} {request.query.get('desc') == 'true'}"
    return web.json_response([{"isbn": each, "title": text} for each in request.query.getall("tag")])


@routes.get("/api/v1/books/{isbn:.+}")
async def find_plain(request: web.Request) -> web.Response:
    """A header."""
    return web.json_response(find(request.match_info["isbn"], request.headers["accept-language"]))


@routes.post("/api/v1/books")
async def add_plain(request: web.Request) -> web.Response:
    """A body."""
    return web.json_response(await request.json(), status=201)


@routes.put("/api/v1/books/{isbn}/cover")
async def cover_plain(request: web.Request) -> web.Response:
    """An optional body."""
    return web.json_response(await request.json())


@routes.patch("/api/v1/books/{isbn}")
async def change_plain(request: web.Request) -> web.Response:
    """A body of any form."""
    return web.json_response(change(request.match_info["isbn"], await request.json()))


@routes.delete("/api/v1/books/{isbn}")
async def remove_plain(request: web.Request) -> web.Response:
    """An answer without a body."""
    return web.Response(status=204)


@routes.get("/api/v1/fail/{how}")
async def fail_plain(request: web.Request) -> web.Response:
    """Errors."""
    status, content_type, text, headers = ANSWERS[request.match_info["how"]]
    return web.Response(text=text, status=status, content_type=content_type, headers=headers)


@asynccontextmanager
async def aiohttp_server() -> AsyncIterator[str]:
    """A server of aiohttp."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    await runner.cleanup()


@pytest.fixture(params=[fastapi_server, aiohttp_server])
async def library(request: pytest.FixtureRequest) -> AsyncIterator[Library]:
    """A proxy for a server of each kind."""
    make: Callable[[], AbstractAsyncContextManager[str]] = request.param
    async with make() as url:
        settings = Settings(registry=f"static:library-component=rest({url})", resilience=False)
        async with Mesh(client_module(LibraryComponent), settings=settings) as mesh:
            yield await mesh.get_service(Library)


async def test_parameters_arrive(library: Library) -> None:
    """Lists as repeated names, defaults, names of the wire, quoted path values and headers are understood."""
    assert await library.search(["a b", "ü&"]) == [Book("a b", "10 False"), Book("ü&", "10 False")]
    assert await library.search(["x"], 3, descending=True) == [Book("x", "3 True")]
    assert await library.find("1/2 ?") == Book("1/2 ?", "en", date(2026, 1, 31), ("a", "b"))
    assert (await library.find("1", "de, en;q=0.5")).title == "de, en;q=0.5"


async def test_bodies_arrive_and_answers_are_typed(library: Library) -> None:
    """Objects, optional bodies and free JSON go out; 201 and 204 are successes; unknown fields do no harm."""
    book = Book("3", "Grüße", date(2026, 1, 31), ("a",))
    assert await library.add(book) == book
    assert await library.cover("3", "red") == "red"
    assert await library.cover("3") is None
    assert (await library.change("3", {"title": "new", "tags": ["x", "y"]})).tags == ("x", "y")
    await library.remove("3")


@pytest.mark.parametrize(
    ("how", "family", "code", "text"),
    [
        ("problem", RemoteError, Code.UNKNOWN, "409 (Conflict): no room for 1/2"),
        ("error", RemoteError, Code.UNIMPLEMENTED, "404 (Not Found): no such book"),
        ("detail", AuthorizationError, Code.PERMISSION_DENIED, "403 (Forbidden): not for you"),
        ("html", RemoteError, Code.UNAVAILABLE, "502 (Bad Gateway)"),
        ("busy", RemoteError, Code.UNAVAILABLE, "503 (Service Unavailable): come back"),
        (
            "wrong",
            CommunicationError,
            Code.INTERNAL,
            "the answer to library.fail does not fit: $: expected str, got int",
        ),
    ],
)
async def test_errors_are_understood(
    library: Library, how: str, family: type[meshcore.MeshError], code: Code, text: str
) -> None:
    """Problems of RFC 9457, and bodies of the servers' own, become errors with a code and the reason."""
    with pytest.raises(meshcore.MeshError) as error:
        await library.fail(how)
    assert isinstance(error.value, family)
    assert error.value.code is code
    assert text in error.value.message
    assert error.value.retry_after == (7.0 if how == "busy" else None)


async def test_what_the_other_server_refuses_says_where(library: Library) -> None:
    """The list of mistakes that FastAPI answers with becomes one text."""
    with pytest.raises(RemoteError, match=r"422 .*: query\.tag: (Field required|field required)"):
        await library.search([])
