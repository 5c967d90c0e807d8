"""A call that stops each process that gets it, over real processes: it reaches two of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from meshcore import Mesh, MeshError, Settings, client_module
from tests.support.poison import Poison, PoisonComponent
from tests.support.processes import ServerProcess, serve

pytestmark = pytest.mark.long


@asynccontextmanager
async def four(folder: Path) -> AsyncIterator[tuple[Poison, list[ServerProcess]]]:
    """A caller who knows four servers."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(serve(folder, "tests.support.poison:PoisonModule")) for _ in range(4)
        ]
        settings = Settings(registry=f"directory://{folder}/registry")
        mesh = await stack.enter_async_context(Mesh(client_module(PoisonComponent), settings=settings))
        poison = await mesh.get_service(Poison)
        async with asyncio.timeout(60):
            met = set[int]()
            while len(met) < len(servers):
                met.add(await poison.look())
        yield poison, servers


async def test_a_call_that_crashes_processes(tmp_path: Path) -> None:
    """Two of four end; the others go on."""
    record = tmp_path / "record"
    record.mkdir()
    async with four(tmp_path) as (poison, servers):
        with pytest.raises(MeshError) as lost:
            await poison.crash(str(record))
        assert len({attempt.instance for attempt in lost.value.attempts}) == 2
        dead = {int(each.name) for each in record.iterdir()}
        assert len(dead) == 2
        assert {server.process.pid for server in servers} > dead
        assert await poison.look() not in dead


async def test_a_call_that_blocks_event_loops(tmp_path: Path) -> None:
    """Two of four answer nothing, and calls of others find the other two."""
    record = tmp_path / "record"
    record.mkdir()
    async with four(tmp_path) as (poison, _):
        with pytest.raises(MeshError, match="not answered within"):
            await poison.block(str(record), 12.0)
        blocked = {int(each.name) for each in record.iterdir()}
        assert len(blocked) == 2
