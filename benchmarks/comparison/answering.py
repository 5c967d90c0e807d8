"""Servers that run until they are cancelled, as contexts. Standard library only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

HOST = "127.0.0.1"
PAUSE = 0.02


@asynccontextmanager
async def answering(server: Coroutine[Any, Any, Any], port: int) -> AsyncGenerator[None, None]:
    """Run a server from when its port accepts connections until the end of the block.

    Raises:
        RuntimeError: it has ended before that, and raised nothing.
    """
    task = asyncio.create_task(server)
    try:
        while not await _accepts(port):
            if task.done():
                await task
                raise RuntimeError("the server has ended")
            await asyncio.sleep(PAUSE)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
