"""What a served call starts, and whether it lives on when the call is over; with a real server process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from meshcore import Code, Mesh, MeshError, Settings, module
from meshcore.testing.kits.channel_setup import deadline_in
from tests.integration.mesh.outliving import Notes, Outliving, OutlivingComponent, OutlivingInThread
from tests.support.processes import serve

MODULE = "tests.integration.mesh.outliving:OutlivingModule"


@module(components=[OutlivingComponent])
class Client: ...


async def test_what_is_detached_outlives_its_caller(tmp_path: Path) -> None:
    """A task, or a thread, that was started detached calls on after the deadline; one that was not cannot."""
    settings = Settings(registry=f"directory://{tmp_path}/registry")
    async with serve(tmp_path, MODULE), Mesh(Client, settings=settings) as mesh:
        outliving = await mesh.get_service(Outliving)
        notes = await mesh.get_service(Notes)
        in_thread = await mesh.get_service(OutlivingInThread)
        await notes.all()

        async def start(text: str, *, detached: bool) -> None:
            with deadline_in(2.0), pytest.raises(MeshError) as late:
                await outliving.start(text, 4.0, detached)
            assert late.value.code is Code.DEADLINE_EXCEEDED

        def start_in_thread() -> None:
            with deadline_in(2.0), pytest.raises(MeshError) as late:
                in_thread.start_thread("thread", 4.0)
            assert late.value.code is Code.DEADLINE_EXCEEDED

        async with asyncio.TaskGroup() as group:
            group.create_task(start("detached", detached=True))
            group.create_task(start("attached", detached=False))
            group.create_task(asyncio.to_thread(start_in_thread))
        async with asyncio.timeout(10):
            while not {"attached: deadline_exceeded", "detached", "thread"} <= {*await notes.all()}:
                await asyncio.sleep(0.02)


async def test_a_repeated_attempt_is_known_below(tmp_path: Path) -> None:
    """What serves a second attempt can tell, unless it is detached; the next call is a first one again."""
    async with serve(tmp_path, MODULE) as server, aiohttp.ClientSession() as session:
        call = {"method": "outliving:outliving:attempts", "args": []}
        for headers, expected in (({"mesh-attempt": "2"}, [2, 1]), ({}, [1, 1])):
            async with session.post(f"{server.url}/invoke", json=call, headers=headers) as response:
                assert (await response.json())["result"] == expected


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack"])
async def test_what_is_shielded_is_finished(tmp_path: Path, channel: str) -> None:
    """Its caller's deadline passes, or its caller leaves: the work goes on and calls on, and the server is well."""
    settings = Settings(registry=f"directory://{tmp_path}/registry")
    async with serve(tmp_path, MODULE) as server, Mesh(Client, settings=settings) as mesh:
        outliving = await mesh.get_service(Outliving, channel)
        notes = await mesh.get_service(Notes)
        await notes.all()
        leaving = asyncio.create_task(outliving.finish("left", 4.0))
        with deadline_in(2.0), pytest.raises(MeshError) as late:
            await outliving.finish("late", 4.0)
        assert late.value.code is Code.DEADLINE_EXCEEDED
        leaving.cancel()  # it has begun, and its server would have begun to listen for its caller
        await asyncio.wait([leaving])
        async with asyncio.timeout(10):
            while len(await notes.all()) < 2:
                await asyncio.sleep(0.02)
        assert sorted(await notes.all()) == ["late finished", "left finished"]
        assert "Traceback" not in server.output()


async def test_what_is_shielded_is_still_bounded(tmp_path: Path) -> None:
    """The server's own `request_timeout` ends it."""
    settings = Settings(registry=f"directory://{tmp_path}/registry")
    bounds = {"MESHCORE_REQUEST_TIMEOUT": "1.5"}
    async with serve(tmp_path, MODULE, env=bounds), Mesh(Client, settings=settings) as mesh:
        outliving = await mesh.get_service(Outliving)
        notes = await mesh.get_service(Notes)
        with pytest.raises(MeshError) as late:
            await outliving.finish("long", 30.0)
        assert late.value.code is Code.DEADLINE_EXCEEDED
        async with asyncio.timeout(10):
            while not await notes.all():
                await asyncio.sleep(0.02)
        assert await notes.all() == ["long cancelled"]
