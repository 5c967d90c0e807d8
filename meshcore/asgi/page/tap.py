"""The route at which a reader is shown the calls of this process as they end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from meshcore.asgi.connection import bounded
from meshcore.asgi.messages import Receive, Scope, Send
from meshcore.core.errors import LocalError
from meshcore.telemetry.tap.tap import Wanted
from meshcore.wire.endpoints import TAPPED

OpenTap: TypeAlias = Callable[[Wanted], AsyncGenerator[bytes]]
"""Begins to show calls to a reader. It raises LocalError if there are too many."""

LONGEST: Final = 600.0
"""Seconds that a reader is served. It may come back. So nobody holds a place who does not read any more."""

_CUT_OFF = 10.0
"""Seconds after these in which a reader has to take what is left; else its connection is closed."""

_JSON_LINES: Final = "application/x-ndjson"
_INVALID, _TOO_MANY = 400, 429


def tap_route(tap: OpenTap) -> Route:
    """The route. Its readers stay, so `request_timeout` does not bound it."""

    async def calls(request: Request) -> Response:
        try:
            wanted = _wanted(request)
        except msgspec.ValidationError as error:
            return PlainTextResponse(f"the query is not what is expected: {error}", _INVALID)
        try:
            lines = tap(wanted)
        except LocalError as error:
            return PlainTextResponse(error.message, _TOO_MANY)
        return _Lines(lines)

    route = Route(TAPPED, calls, methods=["GET"])
    route.methods = {"GET"}  # HEAD would wait for the end
    route.app = bounded(route.app, LONGEST + _CUT_OFF)
    return route


class _Lines(StreamingResponse):
    """The answer. It ends the lines at once when the reader is gone, and not when they are collected."""

    def __init__(self, lines: AsyncGenerator[bytes]) -> None:
        super().__init__(lines, media_type=_JSON_LINES, headers={"cache-control": "no-store"})
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["http_version"].startswith("1"):  # HTTP/2 has no such header
            self.headers["connection"] = "close"  # it ends when the server stops, which waits for open connections
        async with aclosing(self._lines):
            await super().__call__(scope, receive, send)


def _wanted(request: Request) -> Wanted:
    """What the query asks for.

    Raises:
        ValidationError: it asks for something that there is not.
    """
    query: dict[str, Any] = dict(request.query_params)
    return msgspec.convert(query, Wanted, strict=False)
