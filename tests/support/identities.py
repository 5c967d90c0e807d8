"""Identity sources as a mesh runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from meshcore.ports.identity import Credentials, IdentitySource
from meshcore.security.certificates import Certificates


@asynccontextmanager
async def running(source: IdentitySource, names: Sequence[str] = ("orders",)) -> AsyncGenerator[Certificates]:
    """Its certificates, as a mesh has them."""
    certificates = Certificates(source, names)
    try:
        await certificates.start()
        yield certificates
    finally:
        await certificates.aclose()


async def until_changed(certificates: Certificates, before: tuple[Credentials, ...]) -> tuple[Credentials, ...]:
    """Wait until there are others."""
    changed = asyncio.Event()
    certificates.changed.add(changed.set)
    async with asyncio.timeout(20):
        while certificates.all == before:
            await changed.wait()
            changed.clear()
    certificates.changed.discard(changed.set)
    return certificates.all
