"""The mesh in `three`, served in the process of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from meshcore import MeshApp, Settings
from meshcore.testing.servers import served
from tests.support.three_parts import PricesModule, ShopModule, StockModule


@asynccontextmanager
async def mesh(folder: Path, **settings: Any) -> AsyncIterator[str]:
    """The three components, each served by itself. Yields the URL of the shop's page."""
    async with AsyncExitStack() as stack:
        urls: list[str] = []
        for part in (PricesModule, StockModule, ShopModule):

            def make(url: str, part: type = part) -> MeshApp:
                registry = f"directory:{folder}/registry"
                return MeshApp(part, settings=Settings(registry=registry, advertise_url=url, **settings))

            urls.append(await stack.enter_async_context(served(make)))
        page = f"{urls[-1]}/mesh"
        async with aiohttp.ClientSession() as session:
            while settings.get("page") and len((await state(session, page))["components"]) < len(urls):
                await asyncio.sleep(0.1)  # a server is announced when it can be reached, soon after its start
        yield page


async def state(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """The mesh as the page has it."""
    async with session.get(f"{url}/state") as response:
        assert response.status == 200
        found: dict[str, Any] = await response.json()
        return found
