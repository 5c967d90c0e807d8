"""A whole mesh in memory: servers and a client that run the code of production, on one event loop and without sockets.

    async with memory_mesh(ShopModule, overrides={Payments: FakePayments()}) as mesh:
        shop = await mesh.get_service(Shop)
        await shop.order(...)

A call goes through proxy and client stack, is encoded by its channel, decoded, admitted, dispatched and answered by a
`MeshApp`, and decoded again. Only the network between the two is replaced (`meshcore.testing.loopback`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TypeVar

import msgspec

from meshcore.core.instances import Bound
from meshcore.core.settings import Settings
from meshcore.declare.injection import create, module
from meshcore.mesh.mesh import Mesh
from meshcore.ports.installed import make_registry
from meshcore.ports.registry import ComponentRegistry
from meshcore.serve.mesh_app import MeshApp
from meshcore.testing.faults import Faults, with_faults
from meshcore.testing.loopback import Loopback, LoopbackAdvice

T = TypeVar("T")

_HERMETIC = Settings(registry="local:", adaptive_limit=False)
"""Not those of the environment, so that a test does the same everywhere; and no limit that measures the machine."""


class MemoryMesh:
    """A client, and servers that it reaches in memory.

    Attributes:
        client: the caller's side.
        servers: one for each instance.
    """

    def __init__(self, client: Mesh, servers: Sequence[MeshApp], loopback: Loopback) -> None:
        self.client = client
        self.servers = tuple(servers)
        self._loopback = loopback

    @property
    def requests(self) -> int:
        """How many requests have reached a server."""
        return self._loopback.requests

    async def get_service(self, interface: Callable[..., T], preferred_channel: str = "") -> T:
        """A service, as a client in another process gets it: `Mesh.get_service` of the client."""
        return await self.client.get_service(interface, preferred_channel)

    async def get(self, kind: type[T], instance: int = 0) -> T:
        """An object of the injector of a server: an implementation, for instance, to look at its state.

        Raises:
            IndexError: there is no such instance.
        """
        return await self._server(instance).mesh.get(kind)

    def refuse(self, instance: int) -> None:
        """Let nobody listen at the address of an instance, as after a crash: the registry still names it.

        Raises:
            IndexError: there is no such instance.
        """
        self._server(instance)
        self._loopback.refuse(_url(instance))

    def accept(self, instance: int) -> None:
        """Let it listen again.

        Raises:
            IndexError: there is no such instance.
        """
        self._loopback.serve(_url(instance), self._server(instance))

    def _server(self, instance: int) -> MeshApp:
        if not 0 <= instance < len(self.servers):
            raise IndexError(f"there is no instance {instance}: their number is {len(self.servers)}, the first is 0")
        return self.servers[instance]


@asynccontextmanager
async def memory_mesh(
    module: type,
    *,
    overrides: Mapping[type, object] | None = None,
    client: type | None = None,
    instances: int = 1,
    channel: str = "",
    faults: Faults | Mapping[str, Faults] | None = None,
    settings: Settings = _HERMETIC,
) -> AsyncGenerator[MemoryMesh]:
    """Serve what a module implements, and call it, in memory.

    Args:
        module: a class decorated with `@module`, of the servers.
        overrides: by type, objects or classes or functions that take the place of what the module provides, in all
            servers: what is injectable, and whole services. A fake of a service is checked against its interface.
        client: the caller's module, with its interceptors, advice and channels; default: an empty one.
        instances: how many servers there are.
        channel: the client's preferred one; default: the first that the component offers.
        faults: what befalls the calls of the client: of all channels, or by the name of each.
        settings: of both sides; default: those without any environment and files.

    Raises:
        ConfigurationError: with everything that cannot work.
        ValueError: there is to be no instance.
    """
    if instances < 1:
        raise ValueError(f"instances={instances!r}: must be 1 or more")
    loopback = Loopback()
    registry = make_registry("local:")
    overrides = {ComponentRegistry: registry, **(overrides or {})}
    async with AsyncExitStack() as stack:
        servers: list[MeshApp] = []
        for number in range(instances):
            of_server = msgspec.structs.replace(settings, advertise_url=_url(number), verify_advertise=False)
            app = MeshApp(module, settings=of_server, overrides=overrides)
            await stack.enter_async_context(app.running())
            stack.callback(app.hurry)  # nobody's last calls are on their way: the client has stopped before
            loopback.serve(_url(number), app)
            servers.append(app)
        stack.push_async_callback(loopback.aclose)
        components = [hosted.component.interface for hosted in servers[0].mesh.runtime.catalog.hosted]
        of_client = msgspec.structs.replace(settings, preferred_channel=channel or settings.preferred_channel)
        for hosted in servers[0].mesh.runtime.catalog.hosted:
            await _announced(servers[0].mesh.runtime.registry, hosted.component.name, instances, settings.timeout)
        calling = _client_module(loopback, components, client)
        if faults is not None:
            calling = with_faults(calling, faults)
        mesh = Mesh(calling, settings=of_client, overrides={ComponentRegistry: overrides[ComponentRegistry]})
        await stack.enter_async_context(mesh)
        yield MemoryMesh(mesh, servers, loopback)


def _url(instance: int) -> str:
    return f"http://instance-{instance}.memory"


def _client_module(network: Loopback, components: Iterable[type], client: type | None) -> type:
    """A module of the caller's side, apart from what it calls."""

    @module(imports=[client] if client else [], components=components, provides=[LoopbackAdvice])
    class MemoryClient:
        @create()
        def loopback(self) -> Loopback:
            return network

    return MemoryClient


async def _announced(registry: ComponentRegistry, component: str, instances: int, seconds: float) -> None:
    """Return when so many instances can be found, so that the first call does not come before them."""
    async with asyncio.timeout(seconds), aclosing(registry.watch(component)) as sightings:
        async for sighting in sightings:
            if isinstance(sighting, Bound) and len(sighting.instances) >= instances:
                return
