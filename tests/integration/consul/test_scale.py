"""One process that watches more components than it has queries for, on a real agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from meshcore.core.instances import Absent, Bound, ChannelAddress, Failed, Instance, Sighting
from meshcore.registry import ConsulComponentRegistry
from meshcore.registry.consul.api.client import ConsulClient
from meshcore.registry.consul.machines.read_scheduler import READS
from meshcore.registry.consul.registrations import check_id, registration_of, service_id
from meshcore.testing import check_registry, consul_agent
from tests.integration.consul.scene import CACHE, to
from tests.support.faulty import Fault, faulty
from tests.support.processes import count_open

pytestmark = pytest.mark.one_python

MANY, EACH, WATCHES = 150, 3, 10


def instance_of(component: str, number: int) -> Instance:
    """An instance that nobody calls."""
    return Instance(f"i{number}", component, (ChannelAddress("rest", f"http://h{number}:8000"),))


async def register(client: ConsulClient, *instances: Instance) -> None:
    """With checks that need no heartbeat."""
    for each in instances:
        service = registration_of(each)
        check = msgspec.structs.replace(service.check, ttl="1h")
        await client.register(msgspec.structs.replace(service, check=check))


class Watched:
    """The newest of each component."""

    def __init__(self) -> None:
        self.newest: dict[str, Sighting] = {}
        self.absent: list[str] = []  # in their order, with repetitions

    async def follow(self, registry: ConsulComponentRegistry, component: str) -> None:
        async for sighting in registry.watch(component):
            if sighting == Absent():
                self.absent.append(component)
            self.newest[component] = sighting

    async def until(self, what: Callable[[dict[str, Sighting]], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not what(self.newest):
                await asyncio.sleep(0.005)

    async def until_all(self, truth: dict[str, tuple[Instance, ...]], seconds: float = 10.0) -> None:
        goal: dict[str, Sighting] = {name: Bound(found) if found else Absent() for name, found in truth.items()}
        await self.until(lambda newest: newest == goal, seconds)


@asynccontextmanager
async def watching_all(registry: ConsulComponentRegistry, components: list[str]) -> AsyncIterator[Watched]:
    """All of them watched at once."""
    watched = Watched()
    tasks = [asyncio.create_task(watched.follow(registry, each)) for each in components]
    try:
        yield watched
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_many_components_over_few_connections(record_property):
    """Starts, stops and changes of health reach those who share queries, at once; the connections stay few."""
    names = [f"component-{number}" for number in range(MANY)]
    truth = {name: tuple(instance_of(name, number) for number in range(EACH)) for name in names}
    loop = asyncio.get_running_loop()
    async with consul_agent(cache=CACHE) as agent, to(agent) as client:
        await register(client, *(each for found in truth.values() for each in found))
        before = count_open("socket:")
        url = f"consul://{agent.url.removeprefix('http://')}?watches={WATCHES}"
        registry = ConsulComponentRegistry.from_url(url)
        async with registry, watching_all(registry, [*names, "nobody"]) as watched:
            truth["nobody"] = ()
            await watched.until_all(truth)
            took = []
            for name in (names[0], names[WATCHES], names[-1], "nobody"):
                old, new = truth[name], instance_of(name, 9)
                for change, found in (
                    (register(client, new), (*old, new)),
                    (client.update_check(check_id(new, "ttl"), "critical"), old or (new,)),
                    (client.update_check(check_id(new, "ttl"), "passing"), (*old, new)),
                    (client.maintain(service_id(new), enable=True), old or (new,)),
                    (client.deregister(service_id(new)), old),
                ):
                    begun = loop.time()
                    await change
                    truth[name] = found
                    await watched.until_all(truth)
                    took.append(loop.time() - begun)
            assert count_open("socket:") - before <= WATCHES + 3 + READS + 2  # and one that closes
        record_property("seconds", max(took))
        assert sorted(took)[len(took) // 2] < 2.0


@pytest.mark.long
async def test_those_who_share_queries_outlive_an_agent():
    """An agent that comes back without its data has nobody taken for gone; who is there then is found."""
    names = [f"component-{number}" for number in range(20)]
    truth = {name: (instance_of(name, 1),) for name in names}
    async with (
        consul_agent(cache=CACHE) as agent,
        ConsulComponentRegistry(agent.url, watches=0) as registry,
        AsyncExitStack() as announced,
        watching_all(registry, names) as watched,
    ):
        for each, *_ in truth.values():
            await announced.enter_async_context(registry.announce(each))
        await watched.until_all(truth)
        watched.absent.clear()
        await agent.kill()
        await watched.until(lambda newest: all(isinstance(each, Failed) for each in newest.values()))
        await agent.start()
        await watched.until_all(truth, 20)
        more = instance_of(names[7], 2)
        async with registry.announce(more):
            await watched.until_all({**truth, names[7]: (truth[names[7]][0], more)})
        assert not watched.absent


@pytest.mark.long
async def test_those_who_share_queries_outlive_a_spoilt_connection():
    """Resets, garbage, nonsense: what is known stays in use, and what changed meanwhile is seen afterwards."""
    names = [f"component-{number}" for number in range(5)]
    truth = {name: (instance_of(name, 1),) for name in names}
    async with (
        consul_agent(cache=CACHE) as agent,
        to(agent) as client,
        faulty(agent.url) as proxy,
        ConsulComponentRegistry(proxy.url, watches=0) as registry,
    ):
        await register(client, *(each for found in truth.values() for each in found))
        async with watching_all(registry, names) as watched:
            await watched.until_all(truth)
            watched.absent.clear()
            for number, fault in enumerate((Fault.RESET_IN_ANSWER, Fault.NOT_HTTP, Fault.NOT_OURS, Fault.TRUNCATED)):
                proxy.suffer(fault)
                name, new = names[number], instance_of(names[number], 2)
                await register(client, new)  # ends the query of the catalog
                await watched.until(lambda newest: all(isinstance(each, Failed) for each in newest.values()))
                proxy.recover()
                truth[name] = (*truth[name], new)
                await watched.until_all(truth)
            assert not watched.absent


async def test_the_registry_conforms_without_a_query_per_component():
    """Who shares queries keeps what the port promises as well."""
    async with consul_agent(cache=CACHE) as agent:
        await check_registry(lambda: ConsulComponentRegistry(agent.url, watches=0), seconds=5.0)


async def test_an_agent_with_too_many_connections(caplog):
    """It closes them at once; the log says so once, with the name of the setting, and what is known stays."""
    limit = {"limits": {"http_max_conns_per_client": 8}}
    names = [f"component-{number}" for number in range(12)]
    truth = {name: (instance_of(name, 1),) for name in names}
    async with consul_agent(cache=CACHE, config=limit) as agent, to(agent) as client:
        await register(client, *(each for found in truth.values() for each in found))
        async with ConsulComponentRegistry(agent.url) as registry, watching_all(registry, names) as watched:
            await watched.until(lambda newest: len(newest) == len(names))
            await watched.until(lambda _: "http_max_conns_per_client" in caplog.text)
            await asyncio.sleep(1)  # it goes on, and is not said again
        assert caplog.text.count("http_max_conns_per_client") == 1
        async with ConsulComponentRegistry(agent.url, watches=0) as registry, watching_all(registry, names) as watched:
            await watched.until_all(truth, 20)
