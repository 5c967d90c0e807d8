"""The conformance kit for channels over HTTP.

An author of a channel writes one test::

    async def test_conforms() -> None:
        await check_channel("fancy", provides=[FancyChannel])

and reads in the `AssertionError` which clause of the contract is broken, what was expected and what was seen. The
clauses are the functions of `meshcore.testing.kits.channel_clauses`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from meshcore.core.call import Call, Handler, Interceptors
from meshcore.core.settings import Settings
from meshcore.declare.injection import create, module
from meshcore.mesh.mesh import Mesh
from meshcore.serve.mesh_app import MeshApp
from meshcore.testing.kits.channel_clauses import CLAUSES, Clause
from meshcore.testing.kits.channel_stage import Stage
from meshcore.testing.kits.conformance import HEADER, Conformance, ConformanceComponent
from meshcore.testing.kits.conformance_server import ConformanceImpl, ConformanceModule
from meshcore.testing.servers import served


async def check_channel(
    channel: str, *, provides: Sequence[type] = (), max_body: int = 512 * 1024, seconds: float = 10.0
) -> None:
    """Check a channel against a mesh that is served by hypercorn in this process.

    Args:
        channel: its name; it is found as everywhere, in entry points and in what a module provides.
        provides: classes for the client's module: the channel's class if it is not installed, what it has injected,
            and advice.
        max_body: the setting of both sides, in bytes.
        seconds: that anything may take.

    Raises:
        AssertionError: a clause of the contract is broken; the text says which.
    """
    client = client_module(provides)

    @asynccontextmanager
    async def calling(url: str) -> AsyncGenerator[Conformance]:
        registry = f"static:conformance={channel}({url})"
        settings = Settings(registry=registry, timeout=seconds, max_body=max_body)
        async with Mesh(client, settings=settings) as mesh:
            yield await mesh.get_service(Conformance, channel)

    apps: list[MeshApp] = []

    def make_app(url: str) -> MeshApp:
        # It is the channel that is checked, also on a machine that is too busy for the server's liking.
        settings = Settings(registry="local:", advertise_url=url, max_body=max_body, drain=1.0, adaptive_limit=False)
        apps.append(MeshApp(ConformanceModule, settings=settings))
        return apps[0]

    problem: AssertionError | None = None
    async with served(make_app) as url, calling(url) as service:
        stage = Stage(service, await apps[0].mesh.get(ConformanceImpl), calling, max_body, seconds)
        for clause in CLAUSES:
            problem = await _problem(channel, clause, stage)
            if problem is not None:
                break
    # Outside, as leaving the server and the mesh may say things of their own.
    if problem is not None:
        raise problem


async def _problem(channel: str, clause: Clause, stage: Stage) -> AssertionError | None:
    try:
        async with asyncio.timeout(6 * stage.seconds):
            await clause(stage)
    except Exception as error:  # noqa: BLE001 - what a channel raises breaks the clause as well
        text = str(error) if isinstance(error, AssertionError) else repr(error)
        problem = AssertionError(f"Channel {channel!r} breaks the contract. {clause.__doc__} But {text}")
        problem.__cause__ = error
        return problem
    return None


def client_module(provides: Sequence[type], imports: Sequence[type] = ()) -> type:
    """A module that calls the service; apart from the implementations, which it would otherwise contain."""

    @module(imports=imports, components=[ConformanceComponent], provides=provides)
    class ConformanceClient:
        @create()
        def interceptors(self) -> Interceptors:
            return Interceptors(client=[_add_header])

    return ConformanceClient


async def _add_header(handler: Handler, call: Call) -> Any:
    return await handler(msgspec.structs.replace(call, headers={**call.headers, HEADER: "yes"}))
