"""The routes of the live page, below `/mesh`. What they answer comes from a `PageSource`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from meshcore.core.errors import Code, LocalError
from meshcore.wire.endpoints import PAGE

_B = TypeVar("_B")

_STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css"}
_HEADERS: Final = {
    # Nothing from elsewhere, and no code but that of the files: the page shows texts that callers of the mesh chose.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_LARGEST_BODY = 1 << 20


class TriedCall(msgspec.Struct):
    """A call that somebody tries out.

    Attributes:
        component: that offers the method.
        method: as `service/method`.
        arguments: by name.
    """

    component: str
    method: str
    arguments: dict[str, msgspec.Raw] = {}


class ServerAction(msgspec.Struct):
    """What somebody does to a server of the demonstration.

    Attributes:
        instance: its id; of no importance for a new server.
    """

    instance: str = ""


class PageSource(Protocol):
    """What the page shows. Each answer is JSON.

    Attributes:
        read_only: whether calls are not to be tried.
        demo: whether servers may be killed and started.
    """

    read_only: bool
    demo: bool

    async def state(self) -> bytes:
        """The mesh as it is now."""
        ...

    async def history(self) -> bytes:
        """The last 15 minutes of each method."""
        ...

    async def of_instance(self, instance: str, what: str) -> bytes:
        """The report or the contract of an instance.

        Raises:
            LocalError: there is no such instance, or it does not answer.
        """
        ...

    async def fields(self, component: str, method: str) -> bytes:
        """The fields of a form for a method.

        Raises:
            LocalError: there is no such method, or nobody tells its contract.
        """
        ...

    async def call(self, tried: TriedCall) -> bytes:
        """The outcome of a call, also if it failed.

        Raises:
            LocalError: it cannot be made.
        """
        ...

    async def act(self, what: str, instance: str) -> bytes:
        """Kill or start a server of the demonstration.

        Raises:
            LocalError: that failed.
        """
        ...


def page_routes(source: PageSource) -> list[Route]:
    """The page, its files, and its answers."""
    names = sorted(path.name for path in _STATIC.iterdir() if path.suffix in _TYPES)
    found = [
        Route(PAGE, _page),
        *(Route(f"{PAGE}/{name}", partial(_file, name)) for name in names),
        Route(f"{PAGE}/state", _answer(lambda _: source.state())),
        Route(f"{PAGE}/history", _answer(lambda _: source.history())),
        *(Route(f"{PAGE}/{what}", _answer(partial(_of_instance, source, what))) for what in ("report", "contract")),
    ]
    if not source.read_only:
        found += [
            Route(f"{PAGE}/parameters", _answer(partial(_fields, source))),
            Route(f"{PAGE}/call", _answer(partial(_call, source)), methods=["POST"]),
        ]
    if source.demo:
        found += [
            Route(f"{PAGE}/demo/{what}", _answer(partial(_act, source, what)), methods=["POST"])
            for what in ("kill", "start")
        ]
    return found


async def _page(request: Request) -> Response:
    # Relative, so that it holds behind a proxy that takes a prefix off; the page's own path may end with a slash.
    folder = request.url.path.rstrip("/").rpartition("/")[2]
    text = (_STATIC / "index.html").read_text(encoding="utf-8")
    return HTMLResponse(text.replace("{folder}", folder), headers=_HEADERS)


async def _file(name: str, _: Request) -> Response:
    path = _STATIC / name
    return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=_HEADERS)


def _answer(make: Callable[[Request], Awaitable[bytes]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            data = await make(request)
        except LocalError as error:
            return PlainTextResponse(error.message, 400, headers=_HEADERS)
        return Response(data, media_type="application/json", headers=_HEADERS)

    return answer


async def _of_instance(source: PageSource, what: str, request: Request) -> bytes:
    return await source.of_instance(_query(request, "instance"), what)


async def _fields(source: PageSource, request: Request) -> bytes:
    return await source.fields(_query(request, "component"), _query(request, "method"))


async def _call(source: PageSource, request: Request) -> bytes:
    return await source.call(await _body(request, TriedCall))


async def _act(source: PageSource, what: str, request: Request) -> bytes:
    return await source.act(what, (await _body(request, ServerAction)).instance)


def _query(request: Request, name: str) -> str:
    query: Mapping[str, str] = request.query_params
    return query.get(name, "")


async def _body(request: Request, type_: type[_B]) -> _B:
    """The body of a request as a document.

    Raises:
        LocalError: it is another one. A form of a browser cannot send JSON to other sites.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise LocalError(Code.INVALID_ARGUMENT, "the body must be application/json")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > _LARGEST_BODY:
            raise LocalError(Code.INVALID_ARGUMENT, f"the body is larger than {_LARGEST_BODY} bytes")
    try:
        return msgspec.json.decode(bytes(data), type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LocalError(Code.INVALID_ARGUMENT, f"the body is not what is expected: {error}") from None
