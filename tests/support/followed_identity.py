"""Follows an identity source of Consul in a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from meshcore.ports.identity import Credentials
from meshcore.registry.consul.identity import ConsulIdentitySource


@asynccontextmanager
async def opened(
    url: str, *names: str
) -> AsyncIterator[tuple[tuple[Credentials, ...], AsyncGenerator[tuple[Credentials, ...], None]]]:
    """A source's first credentials, and its later ones."""
    source = ConsulIdentitySource.from_url(url.replace("http:", "consul:"))
    try:
        first = await source.open(names)
        async with aclosing(source.changes()) as changes:
            yield first, changes
    finally:
        await source.aclose()


async def until(
    changes: AsyncGenerator[tuple[Credentials, ...], None],
    wanted: Callable[[tuple[Credentials, ...]], bool],
    seconds: float = 10.0,
) -> tuple[Credentials, ...]:
    """The next credentials that are as wanted."""
    async with asyncio.timeout(seconds):
        async for found in changes:
            if wanted(found):
                return found
    raise AssertionError
