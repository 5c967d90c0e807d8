"""A cluster of real Consul servers for tests, with client agents for the processes under test."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from meshcore.testing.consul.agent import ADDRESS, ConsulAgent, free_ports
from meshcore.testing.consul.binary import find_consul

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

_ATTEMPTS = 5  # to start, as for a single agent
_ELECTION = 20.0  # seconds; a round takes up to four, and two or three may be needed


class ConsulCluster:
    """Servers that elect a leader, and client agents. Each can be stopped, killed, frozen and started.

    All keep their data. A killed server stays a member of the cluster, so two of three are a majority, and one is not.

    Attributes:
        servers: the servers.
        clients: the client agents; in production there is one on every machine.
    """

    def __init__(self, binary: Path, folder: Path, servers: int, clients: int, config: Mapping[str, Any]) -> None:
        ports = [free_ports() for _ in range(servers + clients)]
        common = {
            "retry_join": [f"{ADDRESS}:{each['serf_lan']}" for each in ports[:servers]],
            "retry_interval": "1s",
            "autopilot": {"cleanup_dead_servers": False},
            **config,
        }

        def member(number: int, own: Mapping[str, Any]) -> ConsulAgent:
            home = folder / str(number)
            home.mkdir(parents=True)
            return ConsulAgent(binary, home, keeps_data=True, ports=ports[number], config={**common, **own})

        self._addresses = {f"{ADDRESS}:{each['server']}": number for number, each in enumerate(ports[:servers])}
        self.servers = [member(number, {"bootstrap_expect": servers}) for number in range(servers)]
        self.clients = [
            member(number, {"server": False, "bootstrap_expect": 0}) for number in range(servers, servers + clients)
        ]

    async def start(self) -> None:
        """Start all agents, and return when there is a leader.

        Raises:
            RuntimeError: an agent does not start; with its output.
        """
        failed: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for each in (*self.servers, *self.clients):
                    group.create_task(each.start())
        except* RuntimeError as errors:
            failed = errors.exceptions[0]
        if failed is not None:
            raise failed
        await self.leader()

    @property
    def port_was_taken(self) -> bool:
        """Whether an agent did not start because another process has its port."""
        return any(each.port_was_taken for each in (*self.servers, *self.clients))

    async def kill(self) -> None:
        """Kill all agents."""
        await asyncio.gather(*(each.kill() for each in (*self.servers, *self.clients)))

    async def leader(self, seconds: float = _ELECTION) -> ConsulAgent:
        """Wait for a leader that a majority of the servers name, itself among them, and return it.

        Raises:
            TimeoutError: there is none in time.
        """
        async with asyncio.timeout(seconds):
            while True:
                named = await asyncio.gather(*(self._named_by(each) for each in self.servers))
                number, votes = Counter(named).most_common(1)[0]
                if number is not None and votes > len(self.servers) // 2 and named[number] == number:
                    return self.servers[number]
                await asyncio.sleep(0.05)

    async def followers(self) -> list[ConsulAgent]:
        """Return the running servers but the leader."""
        leader = await self.leader()
        return [each for each in self.servers if each is not leader and each.runs]

    async def _named_by(self, server: ConsulAgent) -> int | None:
        if not server.runs:
            return None
        return self._addresses.get((await server.ask("status/leader")).decode().strip().strip('"'))


@asynccontextmanager
async def consul_cluster(
    *, servers: int = 3, clients: int = 1, cache: Path | None = None, config: Mapping[str, Any] | None = None
) -> AsyncGenerator[ConsulCluster, None]:
    """Run a cluster while the context lasts, on free ports. It takes about three seconds to start.

    Args:
        servers: the number of servers.
        clients: the number of client agents.
        cache: as in `consul_agent`.
        config: more configuration of all agents.

    Raises:
        RuntimeError: there is no `consul` on the PATH and none can be fetched, or an agent does not start.
    """
    binary = await asyncio.to_thread(find_consul, cache or Path(".cache"))
    with TemporaryDirectory(prefix="meshcore-consul-") as folder:
        for attempt in range(_ATTEMPTS):
            cluster = ConsulCluster(binary, Path(folder) / str(attempt), servers, clients, config or {})
            try:
                try:
                    await cluster.start()
                except RuntimeError:
                    if attempt == _ATTEMPTS - 1 or not cluster.port_was_taken:
                        raise
                    continue
                yield cluster
                return
            finally:
                await cluster.kill()
