"""The conformance kit for channels over HTTP.

The author of a channel writes one test::

    async def test_conforms() -> None:
        await check_channel("fancy", provides=[FancyChannel])

The `AssertionError` names the clause of the contract that is broken, and what was expected and found. The clauses are
the functions of `meshcore.testing.kits.channel_clauses`.
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
from meshcore.testing.kits.channel_setup import Setup
from meshcore.testing.kits.conformance import HEADER, Conformance, ConformanceComponent
from meshcore.testing.kits.conformance_server import ConformanceImpl, ConformanceModule
from meshcore.testing.kits.violation import violation
from meshcore.testing.servers import served


async def check_channel(
    channel: str, *, provides: Sequence[type] = (), max_body: int = 512 * 1024, seconds: float = 10.0
) -> None:
    """Check a channel against a mesh that hypercorn serves in this process.

    Args:
        channel: the name of the channel. It is looked up in the entry points and in `provides`.
        provides: classes for the module of the client: the class of the channel if it is not installed, what it has
            injected, and advice.
        max_body: the setting of both sides, in bytes.
        seconds: the time limit of each step.

    Raises:
        AssertionError: a clause of the contract is broken.
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
        # Without the adaptive limit: on a busy machine the server would refuse calls.
        settings = Settings(registry="local:", advertise_url=url, max_body=max_body, drain=1.0, adaptive_limit=False)
        apps.append(MeshApp(ConformanceModule, settings=settings))
        return apps[0]

    problem: AssertionError | None = None
    async with served(make_app) as url, calling(url) as service:
        setup = Setup(service, await apps[0].mesh.get(ConformanceImpl), calling, max_body, seconds)
        for clause in CLAUSES:
            problem = await _problem(channel, clause, setup)
            if problem is not None:
                break
    # Outside of the contexts, whose ends may raise errors as well.
    if problem is not None:
        raise problem


async def _problem(channel: str, clause: Clause, setup: Setup) -> AssertionError | None:
    try:
        async with asyncio.timeout(6 * setup.seconds):
            await clause(setup)
    except Exception as error:  # noqa: BLE001 - what a channel raises breaks the clause as well
        return violation(f"Channel {channel!r}", clause, error)
    return None


def client_module(provides: Sequence[type], imports: Sequence[type] = ()) -> type:
    """Make a module that calls the service, without the implementations."""

    @module(imports=imports, components=[ConformanceComponent], provides=provides)
    class ConformanceClient:
        @create()
        def interceptors(self) -> Interceptors:
            return Interceptors(client=[_add_header])

    return ConformanceClient


async def _add_header(handler: Handler, call: Call) -> Any:
    return await handler(msgspec.structs.replace(call, headers={**call.headers, HEADER: "yes"}))
