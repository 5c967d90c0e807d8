"""The same application under uvicorn: calls, streams, an orderly end, and the way back to dispatch."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.depot_calls import MODULE, STREAMED, calling, until
from tests.support.processes import ROOT, ServerProcess, free_port

pytestmark = pytest.mark.one_python

SERVERS = {
    "websockets": ("--ws", "websockets"),
    "websockets-sansio": ("--ws", "websockets-sansio"),
    "wsproto": ("--ws", "wsproto", "--loop", "asyncio", "--http", "h11"),
}


@asynccontextmanager
async def uvicorn(folder: Path, *options: str, module: str = MODULE) -> AsyncGenerator[ServerProcess]:
    """A process of uvicorn that serves the module; killed at the end if it still runs."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MESHCORE_MODULE": module,
        "MESHCORE_ADVERTISE_URL": url,
        "MESHCORE_REGISTRY": f"directory://{folder}/registry",
    }
    with (folder / f"{port}.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "--port", str(port), *options, "meshcore.app:app"),
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    server = ServerProcess(process, url, folder / f"{port}.log")
    try:
        await server.until_ready()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("options", SERVERS.values(), ids=SERVERS)
async def test_calls_until_it_stops(tmp_path: Path, options: tuple[str, ...]) -> None:
    """All calls go over one connection. On SIGTERM those that are running are answered, and the others go elsewhere."""
    registry = f"directory://{tmp_path}/registry"
    async with uvicorn(tmp_path, *options) as first, calling(registry=registry) as client:
        pid = first.process.pid
        assert [await client.depot.echo(str(number)) for number in range(20)] == [str(number) for number in range(20)]
        assert [number async for number in client.depot.count(1_000)] == list(range(1_000))
        assert await client.depot.large(1_000_000) == bytes(1_000_000)
        assert (client.channels, (await client.depot.facts()).pid) == ({STREAMED}, pid)
        holding = [asyncio.create_task(client.depot.hold("long", 3.0)) for _ in range(5)]

        async def begun() -> bool:
            return (await client.depot.held("long"))[0] == 5

        await until(begun, "they have begun")
        async with uvicorn(tmp_path, *options) as second:

            async def both() -> bool:
                return (await client.depot.facts()).pid == second.process.pid

            await until(both, "the second serves, too")
            first.send(signal.SIGTERM)
            while first.process.returncode is None:  # every call is answered while it stops
                await client.depot.echo("meanwhile")
                await client.depot.hold("short", 0.001)
            assert await asyncio.gather(*holding) == [pid] * 5
            assert client.channels == {STREAMED}
            assert (await client.depot.facts()).pid == second.process.pid
            assert await second.stop() in {0, -signal.SIGTERM}
        for server in (first, second):
            assert "Traceback" not in server.output(), server.output()


async def test_without_a_package_for_websockets(tmp_path: Path) -> None:
    """Calls go over dispatch, and `why` says so."""
    async with uvicorn(tmp_path, "--ws", "none") as server, calling(server.url) as client:
        assert [await client.depot.echo(str(number)) for number in range(5)] == [str(number) for number in range(5)]
        assert client.channels == {"dispatch-msgpack"}
        assert "Traceback" not in server.output()
