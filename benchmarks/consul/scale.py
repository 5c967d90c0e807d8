"""`python -m benchmarks.consul.scale`: one process that watches a thousand components in a real Consul agent.

They are in Consul as those of five other machines, so nobody listens, and the agent has only its own to keep: one
that has thousands takes 30 to 200 ms for each registration. The client is a process of its own, so that its memory, its
CPU and its connections are the watching's alone. A change is timed from the moment before the agent is asked to make it
until the watcher has the new snapshot; beside it stands what Consul itself needs to tell a bare query of it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from benchmarks.report import Goal, goal_line, machine
from meshcore.core.instances import Bound, ChannelAddress, Instance
from meshcore.registry import ConsulComponentRegistry
from meshcore.registry.consul.api.client import ConsulClient
from meshcore.registry.consul.api.config import WATCHES, read_config
from meshcore.registry.consul.registrations import registration_of, service_id
from meshcore.testing import ConsulAgent, consul_agent

KINDS = ("registration", "deregistration", "health")
LIMIT_MS, LIMIT_MB, LIMIT_CPU, LIMIT_CONNECTIONS = 100.0, 100.0, 5.0, 60
AT_ONCE = 8  # registrations
TICKS = os.sysconf("SC_CLK_TCK")


class Seen(msgspec.Struct):
    """What the watching process tells: how many instances of a component it knows, and when it learned that."""

    component: str
    count: int
    at: float


def instance_of(component: str, number: int) -> Instance:
    """One of them, with what a real one has."""
    url = f"http://10.0.{number // 250}.{number % 250 + 1}:8000"
    return Instance(
        f"host-{number}-8000-{number:08x}",
        component,
        (ChannelAddress("dispatch-msgpack", url), ChannelAddress("rest", url)),
        version="1.2.3",
        zone="a",
        digest="0123456789abcdef",
    )


async def register(client: ConsulClient, instance: Instance) -> None:
    """Without its process, so with a check that outlasts the measurement."""
    service = registration_of(instance)
    check = msgspec.structs.replace(service.check, ttl="24h")
    await client.register(msgspec.structs.replace(service, check=check))


async def populate(session: aiohttp.ClientSession, agent: ConsulAgent, instance: Instance) -> None:
    """With Consul's servers, as the agent of its machine would: https://developer.hashicorp.com/consul/api-docs/catalog."""
    service = registration_of(instance)
    node = instance.id.partition("-8000-")[0]
    check = {"Node": node, "CheckID": service.check.check_id, "Name": service.check.name, "Status": "passing"}
    told = {
        "Node": node,
        "Address": service.address,
        "SkipNodeUpdate": True,
        "Service": {key: value for key, value in msgspec.to_builtins(service).items() if key not in {"Name", "Check"}}
        | {"Service": service.name},
        "Check": check | {"ServiceID": service.id},
    }
    async with session.put(f"{agent.url}/v1/catalog/register", data=msgspec.json.encode(told)) as response:
        if not response.ok:
            raise RuntimeError(f"Consul refuses {instance.id}: {await response.text()}")


async def bare(session: aiohttp.ClientSession, agent: ConsulAgent, client: ConsulClient, instance: Instance) -> float:
    """How many seconds after the agent was asked to register it a bare query for the catalog ends, read to its end."""
    path = f"{agent.url}/v1/catalog/services?stale"
    async with session.get(path) as response:
        index = response.headers["X-Consul-Index"]

    async def blocked() -> None:
        async with session.get(f"{path}&index={index}&wait=60s") as response:
            await response.read()

    asking = asyncio.create_task(blocked())
    await asyncio.sleep(0.5)
    begun = time.monotonic()
    await register(client, instance)
    await asking
    took = time.monotonic() - begun
    await client.deregister(service_id(instance))
    return took


async def watch_all(address: str, components: int, watches: int) -> None:
    """The process that is measured: it prints what its watchers are told, a line each."""
    async with ConsulComponentRegistry(address, watches=watches) as registry, asyncio.TaskGroup() as group:

        async def one(component: str) -> None:
            async for sighting in registry.watch(component):
                count = len(sighting.instances) if isinstance(sighting, Bound) else 0
                seen = Seen(component, count, time.monotonic())
                sys.stdout.buffer.write(msgspec.json.encode(seen) + b"\n")
                sys.stdout.buffer.flush()

        for number in range(components):
            group.create_task(one(f"component-{number}"))


class Watching:
    """The process, seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._counts: dict[str, Seen] = {}
        self._news = asyncio.Event()

    async def read(self) -> None:
        """Take in what it prints."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            seen = msgspec.json.decode(line, type=Seen)
            self._counts[seen.component] = seen
            self._news.set()

    async def until(self, component: str, count: int) -> float:
        """When it knew of so many."""
        async with asyncio.timeout(60):
            while (seen := self._counts.get(component)) is None or seen.count != count:
                self._news.clear()
                await self._news.wait()
        return seen.at

    @property
    def memory(self) -> float:
        """Its resident megabytes."""
        words = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        return int(words[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def cpu(self) -> float:
        """The seconds of CPU it took so far."""
        words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS

    @property
    def connections(self) -> int:
        """How many sockets it has."""
        found = 0
        for each in Path(f"/proc/{self._process.pid}/fd").iterdir():
            try:
                found += each.readlink().name.startswith("socket:")
            except OSError:  # closed while looking
                continue
        return found


@asynccontextmanager
async def watching(agent: ConsulAgent, components: int, watches: int) -> AsyncIterator[Watching]:
    """The process, while the context lasts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.consul.scale", "--watch", agent.url),
        *("--components", str(components), "--watches", str(watches)),
        stdout=asyncio.subprocess.PIPE,
    )
    found = Watching(process)
    reading = asyncio.create_task(found.read())
    try:
        yield found
    finally:
        process.kill()
        await process.wait()
        await reading


async def measure(options: argparse.Namespace) -> list[Goal]:
    """All of it, in its order."""
    names = [f"component-{number}" for number in range(options.components)]
    rng = random.Random(1)
    async with (
        consul_agent() as agent,
        ConsulClient(read_config(agent.url)) as client,
        aiohttp.ClientSession() as session,
    ):
        started = time.monotonic()
        everybody = [instance_of(name, number) for name in names for number in range(options.each)]
        for first in range(0, len(everybody), AT_ONCE):
            await asyncio.gather(*(populate(session, agent, each) for each in everybody[first : first + AT_ONCE]))
        print(f"{len(names)} components, {len(everybody)} instances: {time.monotonic() - started:.0f} s to register")
        bares = sorted(
            [await bare(session, agent, client, instance_of(names[0], 5000)) for _ in range(options.changes)]
        )
        own = [1000 * bares[int(share * len(bares))] for share in (0.5, 0.99)]
        print(
            f"registration to a bare query for the catalog, nobody else watching: p50 {own[0]:.1f}, p99 {own[1]:.1f} ms"
        )
        begun = time.monotonic()
        async with watching(agent, options.components, options.watches) as client_process:
            known = max([await client_process.until(name, options.each) for name in names])
            print(f"all known after {known - begun:.2f} s, the start of the process included")
            await asyncio.sleep(5)
            cpu, at = client_process.cpu, time.monotonic()
            await asyncio.sleep(options.idle)
            idle = 100 * (client_process.cpu - cpu) / (time.monotonic() - at)
            connections, memory = client_process.connections, client_process.memory
            times: dict[str, list[float]] = {kind: [] for kind in KINDS}
            shared = names[options.watches :] or names
            for _ in range(options.changes):
                name = rng.choice(shared)
                extra = instance_of(name, 5000 + rng.randrange(10**4))
                steps = (
                    (KINDS[0], register(client, extra), options.each + 1),
                    (KINDS[2], client.update_check(f"{service_id(extra)}:ttl", "critical"), options.each),
                    (KINDS[2], client.update_check(f"{service_id(extra)}:ttl", "passing"), options.each + 1),
                    (KINDS[1], client.deregister(service_id(extra)), options.each),
                )
                for kind, change, count in steps:
                    await asyncio.sleep(rng.uniform(0.3, 0.9))
                    begun = time.monotonic()
                    await change
                    times[kind].append(1000 * (await client_process.until(name, count) - begun))
                    connections = max(connections, client_process.connections)
            memory = max(memory, client_process.memory)
    goals = []
    for kind, found in times.items():
        found.sort()
        p50, p99 = found[len(found) // 2], found[int(0.99 * len(found))]
        print(f"{kind}: {len(found)} changes, p50 {p50:.1f}, p99 {p99:.1f}, max {found[-1]:.1f} ms")
        goals.append(Goal(f"ms: {kind} to its watcher, p99", LIMIT_MS, p99))
    return [
        *goals,
        Goal("MB: memory of the watching process", LIMIT_MB, memory),
        Goal("% of a core, idle", LIMIT_CPU, idle),
        Goal("connections to the agent", LIMIT_CONNECTIONS, connections),
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consul.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, default=1000)
    parser.add_argument("--each", type=int, default=5, help="instances of each component (default: %(default)s)")
    parser.add_argument("--watches", type=int, default=WATCHES, help="components with a query of their own")
    parser.add_argument("--changes", type=int, default=100, help="of each kind (default: %(default)s)")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds to look at it idle (default: %(default)s)")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if a goal is missed")
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        asyncio.run(watch_all(options.watch, options.components, options.watches))
        return 0
    print(machine())
    goals = asyncio.run(measure(options))
    print("goals:", *(goal_line(goal, 1) for goal in goals), sep="\n")
    return int(options.strict and not all(goal.reached for goal in goals))


if __name__ == "__main__":
    sys.exit(main())
