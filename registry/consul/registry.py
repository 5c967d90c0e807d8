"""The registry on Consul, for processes on more than one machine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from threading import Lock
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

import anyio

from meshcore.core.errors import Code, LocalError
from meshcore.ports.registry import ComponentRegistry

from ..snapshot import Snapshot, snapshot_of
from .api.acl import require_node_read
from .api.client import ConsulClient
from .api.config import WATCHES, parse_config, read_config
from .api.types import Health
from .heartbeat import Heartbeat
from .hub import Hub
from .registrations import entry_of, is_component, objection_to

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import Self

    from meshcore.core.instances import Instance, Sighting

    from .api.config import ConsulConfig

_READS = 8  # of `instances`, at the same time


class ConsulComponentRegistry(ComponentRegistry):
    """Announces and watches instances through the Consul agent of this machine.

    The agent asks the health URL of an instance every second. An instance without one, or any instance with
    `check="ttl"`, reports its health to the agent from its event loop instead. If the agent loses its data, the
    instance is registered again within about a second.

    Each component is watched by one blocking query, however many watches there are. Beyond `watches` components,
    further ones share three queries and a few reads. While Consul cannot be read, the last known instances stay in use.
    Calls go to instances whose checks pass, to those with a warning if they are more, and to critical ones only if
    there are no others.

    One object may serve several meshes. Those on the same event loop share connections and queries.

    Args:
        address: the agent, such as `http://127.0.0.1:8500`. None: CONSUL_HTTP_ADDR, else Consul's default.
        token: the ACL token. None: the content of `token_file`, else CONSUL_HTTP_TOKEN, else the content of the file
            that CONSUL_HTTP_TOKEN_FILE names.
        token_file: a file with the token, which is read once.
        datacenter: the datacenter of the components. None: the agent's own.
        tls: whether to use https, for an address without a scheme. None: CONSUL_HTTP_SSL.
        ca: a file with the certificate authorities for https. None: CONSUL_CACERT, else the system's.
        certificate: a file with the client's certificate. None: CONSUL_CLIENT_CERT.
        key: a file with the client's key. None: CONSUL_CLIENT_KEY.
        server_name: the name in the agent's certificate, if it is not the host. None: CONSUL_TLS_SERVER_NAME.
        verify: whether to verify the agent's certificate. None: CONSUL_HTTP_SSL_VERIFY, else yes.
        watches: how many components have a connection of their own; further ones share a few. An agent allows 200
            connections for all processes of a machine, unless its `limits.http_max_conns_per_client` differs.
        check: "http" (default): the agent asks for the health of instances. "ttl": each instance reports its health,
            for agents that cannot reach the instances.

    Raises:
        ValueError: an argument, or a variable of the environment, is invalid.
    """

    scheme: ClassVar[str] = "consul"

    def __init__(  # noqa: PLR0913 - all but the address are options by keyword
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        token_file: str | None = None,
        datacenter: str | None = None,
        tls: bool | None = None,
        ca: str | None = None,
        certificate: str | None = None,
        key: str | None = None,
        server_name: str | None = None,
        verify: bool | None = None,
        watches: int = WATCHES,
        check: str | None = None,
    ) -> None:
        options = {
            "token": token,
            "token_file": token_file,
            "datacenter": datacenter,
            "tls": tls,
            "ca": ca,
            "certificate": certificate,
            "key": key,
            "server_name": server_name,
            "verify": verify,
            "watches": watches,
            "check": check,
        }
        self._use(read_config(address, options))

    def _use(self, config: ConsulConfig) -> None:
        self._config = config
        self._hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
        self._lock = Lock()  # meshes may run on other threads

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make a registry from `consul://host:8500?token=...&check=ttl`, with any option of the constructor."""
        registry = cls.__new__(cls)
        registry._use(parse_config(url))  # noqa: SLF001 - our own
        return registry

    def server_host(self) -> str:
        """The host of the agent."""
        return urlsplit(self._config.url).hostname or ""

    async def __aenter__(self) -> Self:
        """Open the sessions for this event loop, unless another user has."""
        loop = asyncio.get_running_loop()
        with self._lock:
            hub = self._hubs.get(loop)
            if hub is None:
                hub = Hub(self._config)
                hub.start()
                self._hubs[loop] = hub
            hub.users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the sessions of this event loop, if this was the last user."""
        loop = asyncio.get_running_loop()
        with self._lock:
            hub = self._hubs[loop]
            hub.users -= 1
            if hub.users:
                return
            del self._hubs[loop]
        with anyio.CancelScope(shield=True):
            await hub.stop(f"{self} was closed")

    @asynccontextmanager
    async def announce(self, instance: Instance) -> AsyncGenerator[None, None]:
        """Announce an instance while the context lasts."""
        heartbeat = Heartbeat(self._hub().client, instance, self._config.check)
        beating: asyncio.Task[None] | None = None
        try:
            await heartbeat.begin()
            beating = asyncio.create_task(
                heartbeat.beat(), name=f"meshcore.registry.consul heartbeat of {instance.component}"
            )
            yield
        finally:
            try:
                if beating is not None:
                    beating.cancel()
                    with anyio.CancelScope(shield=True):
                        await asyncio.wait([beating])
            finally:  # even if the wait is cancelled
                await heartbeat.end()

    def objection(self, instance: Instance) -> str:
        """Return why an instance does not fit into Consul's Meta; empty if it does."""
        return objection_to(instance)

    def watch(self, component: str) -> AsyncGenerator[Sighting, None]:
        """Yield sightings of a component, each with all of its instances."""
        return self._hub().feed(component).follow()

    async def instances(self) -> Snapshot:
        """Return all instances that are announced now, by component. Works outside of `async with`, too."""
        async with ConsulClient(self._config) as client:
            names = [name for name, tags in (await client.services()).items() if is_component(tags)]
            limiter = asyncio.Semaphore(_READS)

            async def read(name: str) -> Health:
                async with limiter:
                    return await client.health(name)

            read_all = await asyncio.gather(*map(read, names), return_exceptions=True)
            if not any(isinstance(each, Health) and each.entries for each in read_all):
                await require_node_read(client)
        found: list[Instance] = []
        for each in read_all:
            if isinstance(each, BaseException):
                raise each
            found += (entry.instance for one in each.entries if (entry := entry_of(one)) is not None)
        return snapshot_of(found)

    def _hub(self) -> Hub:
        hub = self._hubs.get(asyncio.get_running_loop())
        if hub is None or not hub.open:
            raise LocalError(
                Code.FAILED_PRECONDITION,
                f"{self} is not running on this event loop; enter it with `async with` first",
            )
        return hub

    def __repr__(self) -> str:
        return f"ConsulComponentRegistry({self._config.url!r})"
