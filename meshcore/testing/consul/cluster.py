"""A cluster of real Consul servers for tests, with agents for the processes that use it."""

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

_RACES = 5  # as for a single agent
_ELECTION = 20.0  # seconds, for two or three rounds of it; one takes up to four


class ConsulCluster:
    """Servers that elect a leader, and the agents of other machines. Each can be stopped, killed, frozen and started.

    All keep their data. A server that was killed stays a member of the cluster, so two of three are a majority, and one
    alone is none, however long that lasts.

    Attributes:
        servers: those that vote.
        clients: agents without data of their own, as there is one on every machine in production.
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
        """Start all, and return when there is a leader whom all know.

        Raises:
            RuntimeError: one does not start; the text is what it says.
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
        """Whether one did not start since somebody has its port."""
        return any(each.port_was_taken for each in (*self.servers, *self.clients))

    async def kill(self) -> None:
        """End all, without any order."""
        await asyncio.gather(*(each.kill() for each in (*self.servers, *self.clients)))

    async def leader(self, seconds: float = _ELECTION) -> ConsulAgent:
        """The server that leads; waits until there is one that runs and that most name, itself among them.

        Raises:
            TimeoutError: nobody was elected in time.
        """
        async with asyncio.timeout(seconds):
            while True:
                named = await asyncio.gather(*(self._named_by(each) for each in self.servers))
                number, votes = Counter(named).most_common(1)[0]
                if number is not None and votes > len(self.servers) // 2 and named[number] == number:
                    return self.servers[number]
                await asyncio.sleep(0.05)

    async def followers(self) -> list[ConsulAgent]:
        """The servers that run and do not lead."""
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
    """A running cluster while the context lasts, on free ports; it takes about three seconds to start.

    Args:
        servers: how many vote.
        clients: how many agents there are beside them.
        cache: as for `consul_agent`.
        config: of all of them, beside what the kit sets.

    Raises:
        RuntimeError: there is no `consul` on the PATH and none can be fetched, or an agent does not start.
    """
    binary = await asyncio.to_thread(find_consul, cache or Path(".cache"))
    with TemporaryDirectory(prefix="meshcore-consul-") as folder:
        for race in range(_RACES):
            cluster = ConsulCluster(binary, Path(folder) / str(race), servers, clients, config or {})
            try:
                try:
                    await cluster.start()
                except RuntimeError:
                    if race == _RACES - 1 or not cluster.port_was_taken:
                        raise
                    continue
                yield cluster
                return
            finally:
                await cluster.kill()
