"""Runs a proxy in front of a server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar


class Proxy(Protocol):
    """Serves connections until it is closed.

    Attributes:
        url: where it listens.
    """

    url: str

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, /) -> None:
        """Serve one connection."""

    async def aclose(self) -> None:
        """End all connections."""


P = TypeVar("P", bound=Proxy)


@asynccontextmanager
async def listening(proxy: P, tls: ssl.SSLContext | None = None) -> AsyncIterator[P]:
    """The proxy, which listens at a free port while the context lasts; over TLS if there is a context."""
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.aclose()
        await listener.wait_closed()
