"""Servers for tests, in this process and on free ports: for an ASGI application, for fixed bytes, and for refusals."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any, cast

import hypercorn.asyncio
from hypercorn.config import Config

from meshcore.asgi.messages import Application, Receive, Scope, Send

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)

_STOP = 10.0  # seconds


class _TLSConfig(Config):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._context = context

    @property
    def ssl_enabled(self) -> bool:
        return True

    def create_ssl_context(self) -> ssl.SSLContext:
        return self._context


@asynccontextmanager
async def served(make: Callable[[str], Application], tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """Serve an ASGI application with hypercorn while the context lasts. Yields its URL.

    Args:
        make: makes the application for its URL.
        tls: with which it is served; None for clear text.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"{'http' if tls is None else 'https'}://127.0.0.1:{listener.getsockname()[1]}"
    config = Config() if tls is None else _TLSConfig(tls)
    # Bound, so that no other process gets the port, and listening, so that early clients wait and are not refused.
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.graceful_timeout = 1.0
    app, started, stop = make(url), asyncio.Event(), asyncio.Event()

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: MutableMapping[str, Any]) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                started.set()

        await app(scope, receive, note if scope["type"] == "lifespan" else send)

    serve: Any = cast("Any", hypercorn.asyncio).serve  # its types are those of generated TypedDicts
    task = asyncio.create_task(serve(noting, config, shutdown_trigger=stop.wait), name="meshcore.testing.served")
    starting = asyncio.create_task(started.wait())
    try:
        await asyncio.wait([task, starting], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():  # otherwise it failed, and `await task` raises below
            yield url
    finally:
        starting.cancel()
        stop.set()
        await asyncio.wait([task], timeout=_STOP)
        if not task.done():
            task.cancel()
            raise RuntimeError(f"the server at {url} did not stop: a client keeps a connection open")
        await task


@asynccontextmanager
async def answering(parts: Sequence[bytes], *, reset: bool = False) -> AsyncGenerator[str]:
    """Answer each request with these bytes and close its connection. Yields the URL.

    Args:
        parts: the parts of the answer.
        reset: whether to close the connection with a reset, as the death of a process does.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            for part in parts:
                writer.write(part)
                await writer.drain()
            if reset:
                await asyncio.sleep(0.05)  # the bytes must arrive before the reset
                writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has closed the connection
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def refusing() -> AsyncGenerator[str]:
    """Yield a URL where all connections are refused: the port is bound, but nothing listens."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
