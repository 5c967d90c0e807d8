"""The limit: the same bytes over TCP, sent back as they came. No codec, no types, no requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import msgspec

from benchmarks.comparison.answering import HOST
from benchmarks.comparison.child import run
from benchmarks.comparison.payload import TEXT, Workload, tree
from benchmarks.comparison.peer import Call, Calls, Peer


class Echo(asyncio.Protocol):
    """The server's side of a connection."""

    def connection_made(self, transport: asyncio.WriteTransport) -> None:
        """Keep it."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self._transport.write(data)


class Connection(asyncio.Protocol):
    """The client's side of a connection: one call at a time."""

    def connection_made(self, transport: asyncio.WriteTransport) -> None:
        """Keep it."""
        self._transport = transport

    async def echo(self, data: bytes) -> int:
        """Send bytes, and wait until as many have come."""
        self._missing = len(data)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        await self._answer
        return len(data)

    def data_received(self, data: bytes) -> None:
        """Count."""
        self._missing -= len(data)
        if not self._missing:
            self._answer.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell who waits."""
        if hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the connection has ended"))

    def close(self) -> None:
        """End it."""
        self._transport.close()


@asynccontextmanager
async def serve(variant: str, port: int) -> AsyncGenerator[None, None]:  # noqa: ARG001 - there is one
    """A server of plain TCP."""
    async with await asyncio.get_running_loop().create_server(Echo, HOST, port):
        yield


@asynccontextmanager
async def connect(variant: str, port: int) -> AsyncGenerator[Calls, None]:  # noqa: ARG001 - there is one
    """A connection for each caller."""
    free: list[Connection] = []
    async with AsyncExitStack() as stack:

        async def call(data: bytes) -> int:
            connection = free.pop() if free else await more()
            try:
                return await connection.echo(data)
            finally:
                free.append(connection)

        async def more() -> Connection:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, HOST, port)
            stack.callback(connection.close)
            return connection

        bodies = {
            Workload.EMPTY: b"x",
            Workload.TREE: msgspec.msgpack.encode(tree()),
            Workload.TEXT: msgspec.msgpack.encode(TEXT),
        }
        yield {workload: Call(partial(call, data), len(data)) for workload, data in bodies.items()}


PEER = Peer("TCP echo", [""], serve, connect)

if __name__ == "__main__":
    run(PEER)
