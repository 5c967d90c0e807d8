"""A proxy of TCP connections that can stop to pass bytes on, as a network does that is cut in two."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from urllib.parse import urlsplit

from tests.support.in_front import listening


class Tunnel:
    """Where to connect to.

    Attributes:
        url: of the proxy.
        connections: how many were made.
        passed: bytes that were passed on.
    """

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._host, self._port = parts.hostname, parts.port
        self._writers = set[asyncio.StreamWriter]()
        self._tasks = set[asyncio.Task[None]]()
        self._open = asyncio.Event()
        self._open.set()
        self.url = ""
        self.connections = 0
        self.passed = 0

    def swallow(self) -> None:
        """Keep what comes from now on, on all connections, and say nothing of it."""
        self._open.clear()

    def go_on(self) -> None:
        """Pass on again what comes, and what was kept."""
        self._open.set()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            # asyncio (3.11) logs a task of a server that was cancelled as an error.
            with suppress(OSError, asyncio.CancelledError):
                other_reader, other = await asyncio.open_connection(self._host, self._port)
                self._writers.add(other)
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._pass_on(reader, other))
                        group.create_task(self._pass_on(other_reader, writer))
                finally:
                    self._writers.discard(other)
                    other.transport.abort()
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
                self.passed += len(data)
            writer.write_eof()

    async def aclose(self) -> None:
        """End all connections."""
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def tunnel(server: str) -> AbstractAsyncContextManager[Tunnel]:
    """A proxy in front of the server with that URL."""
    return listening(Tunnel(server))
