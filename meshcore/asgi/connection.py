"""Ends the connection of a client that does not read its answer.

ASGI has no message for that. An application that stops sending leaves the connection open, and what is in its buffer in
memory, for as long as the client likes. So the transport is taken from hypercorn and uvicorn themselves, by way of the
`send` that they gave. Their names are tested. With another server, or if the mesh is mounted in an application that
wraps `send` in a class of its own, at most `CHUNK` bytes stay in memory for such a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from math import inf
from types import CellType
from typing import Any, cast
from weakref import ref

from meshcore.asgi.messages import Application, Receive, Scope, Send

_HTTP_2 = "H2Protocol"
_SOON = 0.02
_OWNERS = 12  # hypercorn has three: its stream, its protocol, its connection


def abort_connection(send: Send) -> None:
    """Close the connection at once, without what is not sent yet.

    Args:
        send: of ASGI. Of HTTP/2 nothing is closed: the connection carries other calls, too.
    """
    if (transport := _transport_of(send, shared=False)) is not None:
        transport.abort()


def connection_cut(send: Send) -> Callable[[], None]:
    """What closes the connection at once, also one of HTTP/2 with other requests. It does not keep it in memory.

    Args:
        send: of ASGI.
    """
    owner = next((each for each in _owners(send, shared=True) if _transport(each) is not None), None)
    found = (lambda: None) if owner is None else ref(owner)

    def cut() -> None:
        if (transport := _transport(found())) is not None:
            transport.abort()

    return cut


def _transport_of(send: Send, *, shared: bool) -> asyncio.Transport | None:
    return next((found for each in _owners(send, shared=shared) if (found := _transport(each)) is not None), None)


def _transport(owner: object) -> asyncio.Transport | None:
    transport = getattr(owner, "transport", None) or getattr(getattr(owner, "writer", None), "transport", None)
    return cast("asyncio.Transport", transport) if hasattr(transport, "abort") else None


def close_http2_when_idle(send: Send) -> None:
    """Close a connection of HTTP/2 as soon as it has no request, where the ASGI server lets that be done.

    It says GOAWAY with the last request that it has seen. Clients know that later ones were not looked at. Some cannot
    read an answer after a GOAWAY, such as those of the package h2. So none is sent as long as there are requests.

    Args:
        send: of ASGI.
    """
    protocol = next((each for each in _owners(send, shared=True) if type(each).__name__ == _HTTP_2), None)
    transport = _transport_of(send, shared=True)
    if protocol is not None and transport is not None:
        # This request is not over for the server, as long as the application has not returned.
        asyncio.get_running_loop().call_later(_SOON, _close_if_idle, protocol, transport)


def _close_if_idle(protocol: Any, transport: asyncio.Transport) -> None:
    if transport.is_closing() or protocol.streams or protocol.stream_buffers:
        return  # the next request that ends will look again
    protocol.connection.close_connection()
    transport.write(protocol.connection.data_to_send())
    transport.close()


@asynccontextmanager
async def reading(seconds: float, send: Send) -> AsyncGenerator[None]:
    """Close the connection if the block takes longer, such as for a client that does not read. Not for the hot path.

    Args:
        seconds: the longest time; `inf` for no bound.
        send: of ASGI.
    """
    timeout = asyncio.timeout(None if seconds == inf else seconds)
    try:
        async with timeout:
            yield
    except TimeoutError:
        if not timeout.expired():
            raise
        abort_connection(send)


def bounded(app: Application, seconds: float) -> Application:
    """An application whose requests take no longer."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        async with reading(seconds, send):
            await app(scope, receive, send)

    return run


def _owners(send: Any, *, shared: bool) -> Iterator[Any]:
    """The objects whose methods `send` is, one behind the other; `shared`: also those that other requests have, too."""
    for _ in range(_OWNERS):
        owner = getattr(send, "__self__", None)
        if owner is None:  # a function of a middleware, as Starlette's, around another one
            cells: tuple[CellType, ...] = getattr(send, "__closure__", None) or ()
            names: tuple[str, ...] = getattr(getattr(send, "__code__", None), "co_freevars", ())
            send = next((cell.cell_contents for name, cell in zip(names, cells, strict=True) if name == "send"), None)
        else:
            yield owner
            send = getattr(owner, "send", None)
        if send is None or (type(owner).__name__ == _HTTP_2 and not shared):
            return
