"""Serves the OpenAPI document at `/openapi.json`, and a page at `/docs` to read it and to try the methods.

The page works without the internet: what it consists of comes from an installed package, and the browser is told to
load nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from meshcore.asgi.openapi.openapi import document_of
from meshcore.core.description import ComponentDescription
from meshcore.wire.endpoints import DOCS, OPENAPI

_PACKAGE = "fastapi_offline"  # of the extra `docs`; looked for, never imported: only its files are needed
_FILES: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_START = "start.js"

_HEADERS: Final = {
    # Its own scripts only; styles also in the page's elements, images also in data, both as Swagger UI has them.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What is offered over REST</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{folder}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{folder}/swagger-ui-bundle.js"></script>
<script src="{folder}/start.js"></script>
</body>
</html>
"""
# The URL is relative, so that it also holds where the application is mounted. No validator on the internet is asked.
_SCRIPT = f"""window.ui = SwaggerUIBundle({{
  url: new URL("..{OPENAPI}", document.currentScript.src).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
}});
"""
_MISSING = f"""The interactive page needs the extra `docs`, which is not installed where this server runs:

    pip install "meshcore-runtime[docs]"

What it would show is in {OPENAPI.removeprefix("/")}, next to this page.
"""


def document_routes(components: Sequence[ComponentDescription], version: str) -> list[Route]:
    """The routes of the document and the page. A method of the user with the same verb and path replaces a route."""
    taken = paths_read(components)
    routes = [Route(OPENAPI, _document(components, version))]
    if DOCS not in taken:
        # Each file by its name: other paths below this one belong to the user.
        parts = [Route(f"{DOCS}/{name}", partial(_file, name)) for name in _FILES]
        routes += [Route(DOCS, _page), Route(f"{DOCS}/{_START}", _script), *parts]
    return [route for route in routes if route.path not in taken]


def paths_read(components: Iterable[ComponentDescription]) -> set[str]:
    """The paths that methods have under the verb GET."""
    return {
        method.http.path
        for each in components
        for service in each.services
        for method in service.methods
        if method.http and method.http.verb == "GET"
    }


def _document(components: Sequence[ComponentDescription], version: str) -> Callable[[Request], Awaitable[Response]]:
    @lru_cache(8)  # one for each way to here
    def encoded(prefix: str) -> bytes:
        return msgspec.json.encode(document_of(components, version=version, prefix=prefix))

    async def document(request: Request) -> Response:
        return Response(encoded(request.scope.get("root_path", "")), media_type="application/json")

    return document


async def _page(request: Request) -> Response:
    if _static() is None:
        return PlainTextResponse(_MISSING, 501)
    # Relative, so that it holds behind a proxy that takes a prefix off; the page's own path may end with a slash.
    folder = request.url.path.rstrip("/").rpartition("/")[2]
    return HTMLResponse(_PAGE.format(folder=folder), headers=_HEADERS)


async def _script(_: Request) -> Response:
    return Response(_SCRIPT, media_type="text/javascript", headers=_HEADERS)


async def _file(name: str, _: Request) -> Response:
    folder = _static()
    if folder is None:
        return PlainTextResponse(_MISSING, 404)
    return FileResponse(folder / name, media_type=_FILES[name], headers=_HEADERS)


def _static() -> Path | None:
    """The folder of Swagger UI, None if it is not installed."""
    spec = find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        static = Path(folder) / "static"
        if all((static / name).is_file() for name in _FILES):
            return static
    return None
