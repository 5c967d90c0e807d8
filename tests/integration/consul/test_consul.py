"""The Consul registry against real agents; what goes wrong while calls go on is in `test_consul_failures`."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from meshcore.core.errors import AuthorizationError, Code, CommunicationError, LocalError
from meshcore.core.instances import Absent, Bound, ChannelAddress, Failed, Instance
from meshcore.registry import ConsulComponentRegistry
from meshcore.registry.consul.api.client import ConsulClient
from meshcore.registry.consul.api.config import read_config
from meshcore.registry.consul.api.types import Check, Registration
from meshcore.registry.consul.registrations import registration_of, service_id
from meshcore.testing import ConsulAgent, check_registry, consul_agent, watching
from meshcore.testing.consul.binary import find_consul
from tests.integration.consul.scene import CACHE, to
from tests.support.faulty import Fault, faulty


async def test_agents_run_side_by_side():
    """Several agents are ready at once, on ports of their own, and their processes end with the context."""
    async with consul_agent(cache=CACHE) as one, consul_agent(cache=CACHE) as two:
        assert one.url != two.url
        processes = one.process, two.process
    assert all(process.returncode is not None for process in processes)


def test_no_program_and_no_mirror_is_a_clear_failure(tmp_path, monkeypatch):
    """Without consul and without apt the text says what is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"need the program `consul`.*PATH.*apt"):
        find_consul(tmp_path)


async def test_an_agent_that_cannot_start_says_why():
    """A wrong configuration is an error with what the agent printed."""
    with pytest.raises(RuntimeError, match="no_such_key"):
        async with asyncio.timeout(20), consul_agent(cache=CACHE, config={"no_such_key": 1}):
            pass


def instance_of(name: str, component: str = "orders") -> Instance:
    """An instance that nobody calls."""
    return Instance(name, component, (ChannelAddress("rest", f"http://{name}:8000"),))


async def test_the_consul_registry_conforms():
    """The Consul registry passes the kit with two objects on one agent."""
    async with consul_agent(cache=CACHE) as agent:
        await check_registry(lambda: ConsulComponentRegistry(agent.url), seconds=5.0)


async def test_watchers_share_one_query():
    """However many watch a component, one task asks; when all have left it ends with its query."""

    def asking() -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "meshcore.registry.consul orders"]

    async with (
        consul_agent(cache=CACHE) as agent,
        ConsulComponentRegistry(agent.url) as registry,
        AsyncExitStack() as all_,
    ):
        for _ in range(5):
            watcher = await all_.enter_async_context(watching(registry, "orders", seconds=5))
            await watcher.until(Absent())
        assert len(asking()) == 1
        await all_.aclose()
        assert len(asking()) == 1
        async with registry.announce(instance_of("one")):  # the query ends
            async with asyncio.timeout(5):
                while asking():
                    await asyncio.sleep(0.01)
            async with watching(registry, "orders", seconds=5) as watcher:
                await watcher.until(Bound((instance_of("one"),)))


async def test_a_hand_that_deregisters_is_corrected():
    """An instance that somebody took out of the agent is registered again."""
    instance = instance_of("one")
    async with (
        consul_agent(cache=CACHE) as agent,
        ConsulComponentRegistry(agent.url) as registry,
        registry.announce(instance),
        to(agent) as client,
        watching(registry, "orders", seconds=5) as watcher,
    ):
        await watcher.until(Bound((instance,)))
        await client.deregister(service_id(instance))
        await watcher.until(Absent())
        await watcher.until(Bound((instance,)))


async def test_what_aspyx_service_registers_is_found():
    """Its `channels` are read; what is no component under the same name is left out; ours can be read by it."""
    async with (
        consul_agent(cache=CACHE) as agent,
        ConsulComponentRegistry(agent.url) as registry,
        to(agent) as client,
        watching(registry, "orders", seconds=5) as watcher,
    ):
        await client.register(Registration(id="x", name="orders", check=Check("x", "passing", ttl="60s")))
        meta = {"channels": "dispatch-json(http://h:1),rest(http://h:1)"}
        await client.register(
            Registration(
                id="theirs", name="orders", tags=("component",), meta=meta, check=Check("c", "passing", ttl="60s")
            )
        )
        (node,) = {each.node.node for each in (await client.health("orders")).entries}
        addresses = (ChannelAddress("dispatch-json", "http://h:1"), ChannelAddress("rest", "http://h:1"))
        await watcher.until(Bound((Instance(f"theirs@{node}", "orders", addresses),)))
        async with registry.announce(Instance("ours", "stock", addresses)):
            (ours,) = (await client.health("stock")).entries
            assert ours.service.meta is not None
            assert ours.service.meta["channels"] == meta["channels"]


async def test_a_spoilt_connection_to_consul():
    """Resets, garbage, silence: what is known stays in use, and what changed meanwhile is seen afterwards."""
    one, two = instance_of("one"), instance_of("two")
    async with (
        consul_agent(cache=CACHE) as agent,
        faulty(agent.url) as proxy,
        ConsulComponentRegistry(agent.url) as announcer,
        ConsulComponentRegistry(proxy.url) as registry,
        announcer.announce(one),
        watching(registry, "orders", seconds=10) as watcher,
    ):
        await watcher.until(Bound((one,)))
        for fault in (
            Fault.RESET_IN_ANSWER,
            Fault.CLOSE_AT_ONCE,
            Fault.NOT_HTTP,
            Fault.NOT_OURS,
            Fault.TRUNCATED,
            Fault.EMPTY,
        ):
            seen = len(watcher.seen)
            proxy.suffer(fault)
            async with announcer.announce(two):  # ends the query that was under way
                async with asyncio.timeout(5):
                    while not any(isinstance(each, Failed) for each in watcher.seen[seen:]):
                        await asyncio.sleep(0.01)
                proxy.recover()
                await watcher.until(Bound((one, two)))
            await watcher.until(Bound((one,)))
        assert Absent() not in watcher.seen


async def test_nobody_there():
    """Without an agent a watch says so and goes on, an announcement fails, and the text says where it was tried."""
    registry = ConsulComponentRegistry("127.0.0.1:9")
    async with registry, watching(registry, "orders", seconds=5) as watcher:
        async with asyncio.timeout(5):
            while not watcher.seen:
                await asyncio.sleep(0.01)
        (failed,) = watcher.seen
        assert isinstance(failed, Failed)
        assert "127.0.0.1:9" in str(failed.cause)
        with pytest.raises(CommunicationError, match=r"127\.0\.0\.1:9") as caught:
            async with registry.announce(instance_of("one")):
                pass
        assert caught.value.code is Code.UNAVAILABLE
    with pytest.raises(CommunicationError):
        await registry.instances()
    with pytest.raises(LocalError, match="enter it with"):
        registry.watch("orders")


async def test_a_token_is_needed(monkeypatch):
    """A wrong token is an error that says so, the right one works, also from the environment."""
    token, one = str(uuid4()), instance_of("one")
    async with consul_agent(cache=CACHE, token=token) as agent:
        async with ConsulComponentRegistry(agent.url, token=str(uuid4())) as registry:
            with pytest.raises(AuthorizationError) as caught:
                async with registry.announce(one):
                    pass
            assert caught.value.code is Code.PERMISSION_DENIED
            async with watching(registry, "orders", seconds=5) as watcher, asyncio.timeout(5):
                while not watcher.seen:
                    await asyncio.sleep(0.01)
            assert isinstance(watcher.seen[0], Failed)
        monkeypatch.setenv("CONSUL_HTTP_ADDR", agent.url)
        monkeypatch.setenv("CONSUL_HTTP_TOKEN", token)
        for registry in (ConsulComponentRegistry(), ConsulComponentRegistry.from_url("consul:")):
            async with registry, registry.announce(one), watching(registry, "orders", seconds=5) as watcher:
                await watcher.until(Bound((one,)))


async def test_who_is_not_registered_again_yet_is_not_taken_for_gone():
    """An agent without its data lists nobody until the others have heard of it; the watch keeps them meanwhile."""
    one, two = instance_of("one"), instance_of("two")
    async with (
        consul_agent(cache=CACHE) as agent,
        faulty(agent.url) as proxy,
        ConsulComponentRegistry(proxy.url) as announcer,
        ConsulComponentRegistry(agent.url) as registry,
        announcer.announce(one),
        watching(registry, "orders", seconds=10) as watcher,
    ):
        await watcher.until(Bound((one,)))
        await asyncio.sleep(0.2)  # else the agent could be gone and back between two queries
        proxy.suffer(Fault.CLOSE_AT_ONCE)
        await agent.kill()
        await agent.start()
        async with registry.announce(two):
            await watcher.until(Bound((one, two)))
            async with to(agent) as client:
                assert [each.service.meta["id"] for each in (await client.health("orders")).entries] == ["two"]
                proxy.recover()
                async with asyncio.timeout(5):
                    while len((await client.health("orders")).entries) < 2:
                        await asyncio.sleep(0.02)
        await watcher.until(Bound((one,)))
        assert Absent() not in watcher.seen


@pytest.mark.parametrize("watch", [True, False], ids=["a watch", "anything else"])
async def test_a_request_is_sent_once(watch):
    """A connection that breaks is an error, and not silently tried again: an old index must not go to a new agent."""
    async with (
        consul_agent(cache=CACHE) as agent,
        faulty(agent.url) as proxy,
        ConsulClient(read_config(proxy.url)) as client,
    ):

        async def ask() -> None:
            await (client.health("orders", index=1) if watch else client.services())

        await ask()
        before = proxy.requests
        proxy.suffer(Fault.CLOSE_AFTER_REQUEST)
        with pytest.raises(CommunicationError, match=r"isconnected|reset"):
            await ask()
        assert proxy.requests == before + 1


async def test_an_agent_that_restarts_between_two_queries():
    """It breaks no connection, and its index may look right; what it knows is seen within seconds all the same."""
    one, two = instance_of("one"), instance_of("two")
    async with (
        consul_agent(cache=CACHE) as agent,
        ConsulComponentRegistry(agent.url) as registry,
        registry.announce(one),
        watching(registry, "orders", seconds=5) as watcher,
    ):
        await watcher.until(Bound((one,)))
        await agent.kill()
        await agent.start()
        async with registry.announce(two):
            await watcher.until(Bound((one, two)))
        assert Absent() not in watcher.seen


async def test_meshes_on_other_threads_share_one_object():
    """One object serves event loops of other threads, each with connections of its own."""
    one, two, stop = instance_of("one"), instance_of("two"), threading.Event()

    async def elsewhere() -> None:
        async with registry, registry.announce(two), watching(registry, "orders", seconds=5) as watcher:
            await watcher.until(Bound((one, two)))
            await asyncio.to_thread(stop.wait)

    async with consul_agent(cache=CACHE) as agent:
        registry = ConsulComponentRegistry(agent.url)
        async with registry, registry.announce(one), watching(registry, "orders", seconds=5) as watcher:
            thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
            thread.start()
            try:
                await watcher.until(Bound((one, two)))
            finally:
                stop.set()
                await asyncio.to_thread(thread.join)
            await watcher.until(Bound((one,)))


async def test_a_registration_is_passing_from_the_first_moment():
    """Also before the first heartbeat; else a client that sees it then would leave it out."""
    async with consul_agent(cache=CACHE) as agent, to(agent) as client:
        await client.register(registration_of(instance_of("one")))
        async with asyncio.timeout(5):
            while not (entries := (await client.health("orders")).entries):
                await asyncio.sleep(0.01)
        assert {check.status for check in entries[0].checks} == {"passing"}


async def test_who_is_critical_is_left_out_unless_all_are(caplog):
    """One in maintenance is not asked; with all of them in maintenance all are, and the log says so."""
    one, two = instance_of("one"), instance_of("two")
    async with (
        consul_agent(cache=CACHE) as agent,
        ConsulComponentRegistry(agent.url) as registry,
        registry.announce(one),
        registry.announce(two),
        to(agent) as client,
        watching(registry, "orders", seconds=5) as watcher,
    ):
        await watcher.until(Bound((one, two)))
        await client.maintain(service_id(one), enable=True, reason="what else?")
        await watcher.until(Bound((two,)))
        await client.maintain(service_id(two), enable=True)
        await watcher.until(Bound((one, two)))
        assert "all instances of orders" in caplog.text
        await client.maintain(service_id(one), enable=False)
        await watcher.until(Bound((one,)))


async def test_the_other_calls():
    """Values, the leader, the agent and its services; what is not there is None."""
    async with consul_agent(cache=CACHE) as agent, to(agent) as client:
        assert await client.read("a/b c") is None
        await client.write("a/b c", b"\x00value")
        assert await client.read("a/b c") == b"\x00value"
        assert ":" in await client.leader()
        assert (await client.agent()).config["NodeName"].startswith("node-")
        assert await client.service("none") is None
        await client.deregister("none")
        await client.register(registration_of(instance_of("one")))
        found = await client.service(service_id(instance_of("one")))
        assert found is not None
        assert found.service == "orders"
        with pytest.raises(CommunicationError, match="400"):
            await client.register(Registration(id="x", name="", check=Check("x", "passing")))


@asynccontextmanager
async def behind_tls(agent: ConsulAgent, folder: Path) -> AsyncIterator[str]:
    """The agent's API over TLS, for clients with a certificate; all certificates are made by Consul's own tool."""
    consul = await asyncio.to_thread(find_consul, CACHE)
    for words in ("ca create", "cert create -server", "cert create -client"):
        made = await asyncio.create_subprocess_exec(
            *(consul, "tls", *words.split()), cwd=folder, stdout=asyncio.subprocess.DEVNULL
        )
        assert await made.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "consul-agent-ca.pem")
    context.load_cert_chain(folder / "dc1-server-consul-0.pem", folder / "dc1-server-consul-0-key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    host, _, port = agent.url.removeprefix("http://").partition(":")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        with suppress(OSError):
            await asyncio.gather(forward(reader, to_writer), forward(to_reader, writer))

    listening = await asyncio.start_server(serve_one, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


async def test_tls(tmp_path):
    """With its authority and a certificate a client is let in; a server that nobody vouches for is refused."""
    one = instance_of("one")
    async with consul_agent(cache=CACHE) as agent, behind_tls(agent, tmp_path) as url:
        ca, files = f"ca={tmp_path}/consul-agent-ca.pem", f"{tmp_path}/dc1-client-consul-0"
        address = url.removeprefix("https://")
        good = f"consul://{address}?tls=true&{ca}&certificate={files}.pem&key={files}-key.pem"
        async with (
            ConsulComponentRegistry.from_url(good) as registry,
            registry.announce(one),
            watching(registry, "orders", seconds=5) as watcher,
        ):
            await watcher.until(Bound((one,)))
        with pytest.raises(CommunicationError, match=r"is not trusted .*CONSUL_CACERT"):
            await ConsulComponentRegistry(url).instances()
        with pytest.raises(CommunicationError, match="TLS files"):
            await ConsulComponentRegistry(url, ca=f"{tmp_path}/none").instances()
