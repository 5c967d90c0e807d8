"""A whole mesh in memory: servers and a client that run the production code on one event loop, without sockets.

    async with memory_mesh(ShopModule, overrides={Payments: FakePayments()}) as mesh:
        shop = await mesh.get_service(Shop)
        await shop.order(...)

A call goes through the proxy and the client stack, and is encoded by its channel. A `MeshApp` decodes, admits,
dispatches and answers it. Only the network between the two is replaced (`meshcore.testing.loopback`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from typing import Protocol, TypeVar

import msgspec

from meshcore.core.caller import ANONYMOUS, Caller, Proof
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
"""Without the environment, so that tests behave the same everywhere, and without the limit that depends on the load."""

_CHANNEL = "dispatch-msgpack"


class MemoryMesh:
    """A client, and servers that it calls in memory.

    Attributes:
        client: the mesh of the client.
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
        """Return a proxy of a service, as `Mesh.get_service` does in another process."""
        return await self.client.get_service(interface, preferred_channel)

    async def get(self, kind: Callable[..., T], instance: int = 0) -> T:
        """Return an object from the injector of a server, such as an implementation whose state a test checks.

        Raises:
            IndexError: there is no such instance.
        """
        return await self._server(instance).mesh.get(kind)

    def refuse(self, instance: int) -> None:
        """Refuse connections to an instance, as after a crash. The registry still has it.

        Raises:
            IndexError: there is no such instance.
        """
        self._server(instance)
        self._loopback.refuse(_url(instance))

    def accept(self, instance: int) -> None:
        """Accept connections to an instance again.

        Raises:
            IndexError: there is no such instance.
        """
        self._loopback.serve(_url(instance), self._server(instance))

    def _server(self, instance: int) -> MeshApp:
        if not 0 <= instance < len(self.servers):
            raise IndexError(f"there is no instance {instance}: there are {len(self.servers)}, and the first is 0")
        return self.servers[instance]


class MeshFactory(Protocol):
    """The type of the fixture `mesh_factory`: `memory_mesh`, with the faults of `mesh_faults`."""

    def __call__(  # noqa: PLR0913 - all but the first have defaults
        self,
        module: type,
        *,
        overrides: Mapping[type, object] | None = None,
        client: type | None = None,
        instances: int = 1,
        channel: str = "",
        faults: Faults | Mapping[str, Faults] | None = ...,
        settings: Settings = ...,
        caller: Caller | str | None = None,
    ) -> AbstractAsyncContextManager[MemoryMesh]:
        """See `memory_mesh`."""
        ...


@asynccontextmanager
async def memory_mesh(  # noqa: PLR0913 - as above
    module: type,
    *,
    overrides: Mapping[type, object] | None = None,
    client: type | None = None,
    instances: int = 1,
    channel: str = "",
    faults: Faults | Mapping[str, Faults] | None = None,
    settings: Settings = _HERMETIC,
    caller: Caller | str | None = None,
) -> AsyncGenerator[MemoryMesh]:
    """Serve what a module implements, and call it, in memory.

    Args:
        module: the module of the servers, a class decorated with `@module`.
        overrides: by type, objects, classes or functions that replace what the module provides, in all servers:
            injectables, and whole services. A fake of a service is checked against its interface.
        client: the module of the client, with its interceptors, advice and channels. Default: an empty one.
        instances: the number of servers.
        channel: the preferred channel of the client. Default: `dispatch-msgpack` where it is offered, with a request of
            its own for each call, which `requests` counts and `refuse` refuses.
        faults: the faults of the client's calls: of all channels, or by the name of each.
        settings: of both sides. Default: settings without environment and files.
        caller: who calls, as the servers see it, for tests of authorization. The name of a component stands for one of
            its instances, with a certificate. Default: who has proven nothing.

    Raises:
        ConfigurationError: the mesh cannot start; with every problem.
        ValueError: `instances` is less than 1.
    """
    if instances < 1:
        raise ValueError(f"instances={instances!r}: must be 1 or more")
    loopback = Loopback(_caller_of(caller))
    registry = make_registry("local:")
    overrides = {ComponentRegistry: registry, **(overrides or {})}
    async with AsyncExitStack() as stack:
        servers: list[MeshApp] = []
        for number in range(instances):
            of_server = msgspec.structs.replace(settings, advertise_url=_url(number), verify_advertise=False)
            app = MeshApp(module, settings=of_server, overrides=overrides)
            await stack.enter_async_context(app.running())
            stack.callback(app.hurry)  # no calls are in progress: the client has stopped before
            loopback.serve(_url(number), app)
            servers.append(app)
        stack.push_async_callback(loopback.aclose)
        components = [hosted.component.interface for hosted in servers[0].mesh.runtime.catalog.hosted]
        of_client = msgspec.structs.replace(
            settings, preferred_channel=channel or settings.preferred_channel or _CHANNEL
        )
        for hosted in servers[0].mesh.runtime.catalog.hosted:
            await _announced(servers[0].mesh.runtime.registry, hosted.component.name, instances, settings.timeout)
        calling = _client_module(loopback, components, client)
        if faults is not None:
            calling = with_faults(calling, faults)
        mesh = Mesh(calling, settings=of_client, overrides={ComponentRegistry: overrides[ComponentRegistry]})
        await stack.enter_async_context(mesh)
        yield MemoryMesh(mesh, servers, loopback)


def _caller_of(caller: Caller | str | None) -> Caller:
    if isinstance(caller, str):
        return Caller(f"spiffe://memory.mesh/svc/{caller}", caller, Proof.CERTIFICATE)
    return ANONYMOUS if caller is None else caller


def _url(instance: int) -> str:
    return f"http://instance-{instance}.memory"


def _client_module(network: Loopback, components: Iterable[type], client: type | None) -> type:
    """Make the module of the client, without the implementations."""

    @module(imports=[client] if client else [], components=components, provides=[LoopbackAdvice])
    class MemoryClient:
        @create()
        def loopback(self) -> Loopback:
            return network

    return MemoryClient


async def _announced(registry: ComponentRegistry, component: str, instances: int, seconds: float) -> None:
    """Return when all instances are announced, so that the first call can choose among them."""
    async with asyncio.timeout(seconds), aclosing(registry.watch(component)) as sightings:
        async for sighting in sightings:
            if isinstance(sighting, Bound) and len(sighting.instances) >= instances:
                return
