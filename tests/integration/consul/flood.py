"""A process of many small instances of the ledger, which start and stop at random. Each has a socket of its own.

python -m tests.integration.consul.flood CONSUL NAME COUNT SECONDS LEFT

Prints the time (monotonic) at which the last change was made, and the ids of those that stay. They stop, in order as
well, when its input ends.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from contextlib import AsyncExitStack, suppress

from meshcore.core.errors import CommunicationError
from meshcore.core.instances import ChannelAddress, Instance
from meshcore.registry import ConsulComponentRegistry

LONGEST = 3.0
"""Seconds that one lives at most."""

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


class Small:
    """A server that reads the ledger, over REST, and is healthy. It stops in order."""

    def __init__(self) -> None:
        self._open: set[asyncio.StreamWriter] = set()
        self._stopping = False

    async def start(self) -> str:
        """Its URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close connections after their next answer, then all and for good."""
        await asyncio.sleep(0.3)
        self._stopping = True
        await asyncio.sleep(0.3)
        self._server.close()
        for writer in self._open:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._answer(reader, writer):
                    pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        if length := _LENGTH.search(head):
            await reader.readexactly(int(length[1]))
        found = re.search(rb" \S*/ledger/entries/(\d+)", head)
        body = found[1] if found else b"{}"
        close = b"connection: close\r\n" if self._stopping else b""
        start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        writer.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (start, close, len(body), body))
        await writer.drain()
        return not close


class Stay:
    """Of those that are to stay: whether one has begun, and when all are to end."""

    def __init__(self, over: asyncio.Event) -> None:
        self.begun = asyncio.Event()
        self.over = over


async def live(registry: ConsulComponentRegistry, name: str, seconds: float, stay: Stay | None) -> None:
    """Start at some time, and stop at some time unless it is to stay."""
    await asyncio.sleep(random.uniform(0.0, seconds))
    small = Small()
    instance = Instance(name, "ledger", (ChannelAddress("rest", await small.start()),))
    async with AsyncExitStack() as stack:
        while True:
            with suppress(CommunicationError):  # then again, as every server does
                await stack.enter_async_context(registry.announce(instance))
                break
        if stay is not None:
            stay.begun.set()
            await stay.over.wait()
        else:
            await asyncio.sleep(random.uniform(0.0, LONGEST))
    await small.stop()


async def main(consul: str, name: str, count: int, seconds: float, left: int) -> None:
    """Run."""
    over = asyncio.Event()
    staying = {f"{name}-{number}": Stay(over) for number in range(left)}
    async with ConsulComponentRegistry(consul) as registry, asyncio.TaskGroup() as group:
        for each, stay in staying.items():
            group.create_task(live(registry, each, seconds, stay))
        others = [group.create_task(live(registry, f"{name}-{n}", seconds, None)) for n in range(left, count)]
        for stay in staying.values():
            await stay.begun.wait()
        await asyncio.wait(others)
        sys.stdout.write(" ".join([str(time.monotonic()), *staying]) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        over.set()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
