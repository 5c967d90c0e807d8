"""The registry on Consul: for processes of more than one machine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

import anyio

from meshcore.core.errors import Code, LocalError
from meshcore.ports.registry import ComponentRegistry

from ..snapshot import Snapshot, snapshot_of
from .api.client import ConsulClient
from .api.config import WATCHES, parse_config, read_config
from .api.rights import check_sight
from .api.types import Health
from .entries import entry_of, is_component, objection_to
from .heartbeat import Heartbeat
from .hub import Hub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import Self

    from meshcore.core.instances import Instance, Sighting

    from .api.config import ConsulConfig

_READS = 8  # of `instances`, at once


class ConsulComponentRegistry(ComponentRegistry):
    """Announces to, and watches through, the Consul agent of this machine.

    The agent asks an instance's health URL every second. An instance without one, or every one with `check="ttl"`,
    asks itself instead and reports to the agent from its event loop. It is registered again within a second or so when
    its agent comes back without its data. A component is watched by one blocking query, however many watch it; beyond
    `watches` components, further ones share three queries and a few reads. While Consul is away, what is known stays in
    use. Instances whose checks pass come before those with a warning; critical ones are asked only when there is nobody
    else.

    One object may serve several meshes. Those on the same event loop share connections and queries.

    Args:
        address: as in `http://127.0.0.1:8500`. None: CONSUL_HTTP_ADDR, else Consul's default.
        token: the ACL token. None: what is in `token_file`, else CONSUL_HTTP_TOKEN, else what is in the file that
            CONSUL_HTTP_TOKEN_FILE names.
        token_file: a file with the token, read once.
        datacenter: where components are looked for. None: the agent's own.
        tls: whether it speaks https, for an address that does not say so. None: CONSUL_HTTP_SSL.
        ca: a file with the authorities that are trusted for https. None: CONSUL_CACERT, else the system's.
        certificate: a file with the client's certificate. None: CONSUL_CLIENT_CERT.
        key: a file with the key of that certificate. None: CONSUL_CLIENT_KEY.
        server_name: the name in the agent's certificate, if it is not the host's. None: CONSUL_TLS_SERVER_NAME.
        verify: whether the agent's certificate must be genuine. None: CONSUL_HTTP_SSL_VERIFY, else it must.
        watches: how many components have a connection of their own to the agent; further ones share a few. The agent
            allows 200 connections for all processes of a machine, or its `limits.http_max_conns_per_client`.
        check: "http", the default: the agent asks for the health of instances. "ttl": each reports its own, for agents
            that cannot reach them.

    Raises:
        ValueError: something of it, or of the environment, does not fit.
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
        """`consul://host:8500?token=...&check=ttl`, with any of the options of the constructor; all are optional."""
        registry = cls.__new__(cls)
        registry._use(parse_config(url))  # noqa: SLF001 - our own
        return registry

    async def __aenter__(self) -> Self:
        """Open the sessions, unless another user on this event loop has."""
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
        """Close them, if this was the last user."""
        loop = asyncio.get_running_loop()
        with self._lock:
            hub = self._hubs[loop]
            hub.users -= 1
            if hub.users:
                return
            del self._hubs[loop]
        with anyio.CancelScope(shield=True):
            await hub.stop(f"{self} was left")

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
            finally:  # also if that is cancelled in its turn
                await heartbeat.end()

    def objection(self, instance: Instance) -> str:
        """Consul's Meta is small."""
        return objection_to(instance)

    def watch(self, component: str) -> AsyncGenerator[Sighting, None]:
        """Full snapshots of a component's instances."""
        return self._hub().feed(component).follow()

    async def instances(self) -> Snapshot:
        """All that is announced at the moment, by component; also outside of `async with`."""
        async with ConsulClient(self._config) as client:
            names = [name for name, tags in (await client.services()).items() if is_component(tags)]
            limiter = asyncio.Semaphore(_READS)

            async def read(name: str) -> Health:
                async with limiter:
                    return await client.health(name)

            read_all = await asyncio.gather(*map(read, names), return_exceptions=True)
            if not any(isinstance(each, Health) and each.entries for each in read_all):
                await check_sight(client)
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
