"""How the health and the registration of an instance reach a real Consul, and what its agent's tokens hide."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from meshcore import (
    AbstractComponent,
    ChannelAddress,
    Component,
    ConfigurationError,
    Service,
    component,
    implementation,
    load_settings,
    module,
    service,
)
from meshcore.core.errors import AuthorizationError
from meshcore.core.instances import Absent, Bound, Failed, Instance
from meshcore.registry import ConsulComponentRegistry
from meshcore.registry.consul.health_probe import CheckResult, HealthProbe
from meshcore.registry.consul.registrations import registration_of, service_id
from meshcore.serve.mesh_app import MeshApp
from meshcore.testing import ConsulAgent, Watcher, consul_agent, watching
from tests.integration.consul.scene import CACHE, to
from tests.support.processes import ServerProcess, free_port, serve

pytestmark = pytest.mark.one_python

FORMS = pytest.mark.parametrize("check", ["http", "ttl"])


class Ward:
    """Health URLs, one per path, that answer as the test likes.

    Attributes:
        url: of the server.
        statuses: by path; 200 if it is not there, 0 for no answer at all.
        deaf_to: connections of this user agent are cut.
        asked: how often.
    """

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.statuses: dict[str, int] = {}
        self.deaf_to = ""
        self.asked = 0

    def instance(self, name: str, weight: int = 1) -> Instance:
        """One that has its health there."""
        address = ChannelAddress("rest", f"http://{name}:8000")
        return Instance(name, "orders", (address,), weight=weight, health=f"{self.url}/{name}")

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.deaf_to and self.deaf_to in request.headers["User-Agent"]:
            assert request.transport is not None
            request.transport.close()
        status = self.statuses.get(request.path.removeprefix("/"), 200)
        if not status:
            await asyncio.sleep(30)
        return web.json_response({"at": time.time()}, status=status)


@asynccontextmanager
async def ward() -> AsyncIterator[Ward]:
    """A server of health URLs."""
    made = Ward()
    application = web.Application()
    application.router.add_get("/{name}", made.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(made.url.rpartition(":")[2])).start()
    try:
        yield made
    finally:
        await runner.cleanup()


async def statuses(agent: ConsulAgent, name: str = "orders") -> dict[str, str]:
    """What Consul says of the instances, without the checks of nodes."""
    async with to(agent) as client:
        found = await client.health(name)
    return {
        (each.service.meta or {})["id"]: check.status
        for each in found.entries
        for check in each.checks
        if check.check_id != "serfHealth"
    }


async def until(agent: ConsulAgent, expected: dict[str, str], name: str = "orders", seconds: float = 15.0) -> float:
    """Return when Consul says so, and how long that took."""
    begun = time.monotonic()
    found: dict[str, str] = {}
    try:
        async with asyncio.timeout(seconds):
            while (found := await statuses(agent, name)) != expected:
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"expected {expected}, found {found}") from None
    return time.monotonic() - begun


async def hold(server: ServerProcess, seconds: float) -> int:
    """The status of a call that takes so long."""
    try:
        async with aiohttp.ClientSession() as session:
            body = {"method": "moody:moody:hold", "args": [seconds]}
            async with session.post(f"{server.url}/invoke", json=body) as answer:
                return answer.status
    except aiohttp.ClientError:
        return 0


@pytest.mark.long
@FORMS
async def test_the_health_of_a_component_reaches_consul(tmp_path, check, record_property):
    """OK, WARNING, ERROR, a check that hangs and a process that hangs are Consul's words for them, in both forms.

    That holds as well while the server refuses calls because it runs as many as it may.
    """
    file = tmp_path / "mood"
    file.write_text("ok")
    async with consul_agent(cache=CACHE) as agent:
        registry = f"consul://{agent.url.removeprefix('http://')}?check={check}"
        env = {
            "MESHCORE_REGISTRY": registry,
            "MOOD": str(file),
            "MESHCORE_MAX_CONCURRENCY": "1",
            "MESHCORE_DRAIN": "0.1",
        }
        async with serve(tmp_path, "tests.integration.consul.moody:MoodyModule", env=env) as server:
            async with aiohttp.ClientSession() as session, session.get(f"{server.url}/report") as answer:
                (instance,) = (await answer.json())["instances"]
            assert instance["health"] == f"{server.url}/moody-health"
            (found,) = await statuses(agent, "moody")
            busy = asyncio.create_task(hold(server, 60))
            async with asyncio.timeout(10):
                while await hold(server, 0) != 429:
                    if busy.done():  # it was refused itself, because of the other
                        busy = asyncio.create_task(hold(server, 60))
                    await asyncio.sleep(0.01)
            for mood, expected in (
                ("warning", "warning"),
                ("error", "critical"),
                ("ok", "passing"),
                ("hang", "critical"),
                ("ok", "passing"),
            ):
                file.write_text(mood)
                took = await until(agent, {found: expected}, "moody")
                record_property(f"{mood} is {expected}", round(took, 2))
            server.send(signal.SIGSTOP)
            try:
                record_property("stopped is critical", round(await until(agent, {found: "critical"}, "moody"), 2))
            finally:
                server.send(signal.SIGCONT)
            await until(agent, {found: "passing"}, "moody")
            assert await hold(server, 0) == 429
            assert await server.stop() == 0
            assert not await statuses(agent, "moody")
            await asyncio.wait([busy])


@pytest.mark.long
@FORMS
async def test_an_instance_is_registered_again_as_it_was(check, record_property):
    """An agent that lost its data knows it again within about a second, and never as passing if it was critical."""
    async with ward() as health, consul_agent(cache=CACHE) as agent:
        health.statuses["two"] = 500
        async with (
            ConsulComponentRegistry(agent.url, check=check) as registry,
            registry.announce(health.instance("one")),
            registry.announce(health.instance("two")),
        ):
            await until(agent, {"one": "passing", "two": "critical"})
            await asyncio.sleep(3)  # until the next look, which remembers it: there is one every second
            await agent.kill()
            await agent.start()
            begun, seen = time.monotonic(), set[str]()
            while len(found := await statuses(agent)) < 2:
                seen |= {found["two"]} if "two" in found else set()
                assert time.monotonic() < begun + 15
                await asyncio.sleep(0.01)
            record_property("seconds", round(time.monotonic() - begun, 2))
            assert seen | {found["two"]} == {"critical"}
            await until(agent, {"one": "passing", "two": "critical"})


async def test_a_look_wakes_nobody():
    """Heartbeats of the HTTP form change nothing in the catalog, and the agent's checks go on at their pace."""
    # As agents have it unless they are told otherwise: then outputs that change are not worth a change at once.
    config = {"check_update_interval": "5m"}
    async with (
        ward() as health,
        consul_agent(cache=CACHE, config=config) as agent,
        ConsulComponentRegistry(agent.url) as registry,
        registry.announce(health.instance("one")),
        to(agent) as client,
    ):
        async with asyncio.timeout(15):
            while health.asked < 2:
                await asyncio.sleep(0.01)
        for _ in range(3):  # a check that a stall of the machine makes late is a change
            index, asked, begun = (await client.health("orders")).index, health.asked, time.monotonic()
            await asyncio.sleep(2.5)
            after = (await client.health("orders")).index
            assert 1 <= health.asked - asked <= time.monotonic() - begun + 2
            if after == index:
                break
        assert after == index


@FORMS
async def test_who_is_registered_is_passing_at_once(check, record_property):
    """The first check delays nothing, not even one that will not answer; weights arrive."""
    async with ward() as health, consul_agent(cache=CACHE) as agent:
        health.statuses["one"] = 0
        one = health.instance("one", weight=7)
        async with ConsulComponentRegistry(agent.url, check=check) as registry, to(agent) as client:
            begun = time.monotonic()
            async with registry.announce(one):
                record_property("seconds", round(time.monotonic() - begun, 3))
                assert time.monotonic() < begun + 10  # the check would take 30 s
                assert await statuses(agent) == {"one": "passing"}
                (found,) = (await client.health("orders")).entries
                assert found.service.weights.passing == 7
                await until(agent, {"one": "critical"})


async def test_passing_before_warning_before_critical():
    """Who has a warning is asked when those who pass are fewer; who is critical, only when there is nobody else."""
    async with ward() as health, consul_agent(cache=CACHE) as agent:
        one, two, three = (health.instance(name) for name in ("one", "two", "three"))
        health.statuses |= {"two": 429, "three": 500}
        async with (
            ConsulComponentRegistry(agent.url) as registry,
            registry.announce(one),
            registry.announce(two),
            registry.announce(three),
            watching(registry, "orders", seconds=15) as watcher,
        ):
            await watcher.until(Bound((one,)))
            health.statuses["one"] = 429
            await watcher.until(Bound((one, two)))
            health.statuses |= {"one": 500, "two": 500}
            await watcher.until(Bound((one, three, two)))
            health.statuses["three"] = 200
            await watcher.until(Bound((three,)))


@pytest.mark.long
async def test_an_agent_that_cannot_reach_an_instance(caplog):
    """The log names the option that helps, once; with it the instance passes."""
    async with ward() as health, consul_agent(cache=CACHE) as agent:
        health.deaf_to = "Consul"
        one = health.instance("one")
        async with ConsulComponentRegistry(agent.url) as registry, registry.announce(one):
            async with asyncio.timeout(15):
                while "check=ttl" not in caplog.text:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(1.2)  # another look
            assert caplog.text.count("check=ttl") == 1
            assert await statuses(agent) == {"one": "critical"}
        async with ConsulComponentRegistry(agent.url, check="ttl") as registry, registry.announce(one):
            await asyncio.sleep(1.2)  # another beat
            assert await statuses(agent) == {"one": "passing"}


async def test_an_instance_without_a_health_url_reports_itself(tmp_path):
    """It passes as long as its event loop goes round, whatever the option says."""
    one = Instance("one", "orders", (ChannelAddress("rest", "http://h:1"),))
    async with (
        consul_agent(cache=CACHE) as agent,
        ConsulComponentRegistry(agent.url, check="http") as registry,
        registry.announce(one),
        to(agent) as client,
    ):
        await asyncio.sleep(3.5)  # longer than its time to live
        assert await statuses(agent) == {"one": "passing"}
        standing = await client.agent_health(service_id(one))
        assert standing is not None
        assert [each.check_id for each in standing.checks or ()] == [f"{service_id(one)}:ttl"]
        assert await client.agent_health("nobody") is None


async def test_how_a_process_judges_itself():
    """As Consul does: 2xx passes, 429 is a warning, all else and silence are critical; an unknown way says nothing."""
    async with ward() as health:
        url = f"{health.url}/one"
        async with HealthProbe(url, 2.0) as own, HealthProbe(url, 0.3) as hasty:
            assert await own.ask() == CheckResult("passing")
            for status, expected in ((204, "passing"), (429, "warning"), (500, "critical"), (404, "critical")):
                health.statuses["one"] = status
                verdict = await own.ask()
                assert verdict is not None
                assert verdict.status == expected
                assert (str(status) in verdict.output) == (expected != "passing")
            health.statuses["one"] = 0
            verdict = await hasty.ask()
            assert verdict is not None
            assert verdict == CheckResult("critical", f"{url} does not answer within 0.3 s")
            health.statuses["one"], health.deaf_to = 200, "Python"
            verdict = await own.ask()
            assert verdict is not None
            assert verdict.status == "critical"
        async with HealthProbe(f"http://127.0.0.1:{free_port()}", 2.0) as nowhere:
            assert await nowhere.ask() is None
            with pytest.raises(RuntimeError, match="entered"):
                await HealthProbe(url, 2.0).ask()


# --- tokens -----------------------------------------------------------------------------------------------------------


async def token_for(agent: ConsulAgent, master: str, rules: str) -> str:
    """A token that may do this."""
    async with aiohttp.ClientSession(agent.url, headers={"X-Consul-Token": master}) as session:
        name = f"policy-{uuid4()}"
        async with session.put("/v1/acl/policy", json={"Name": name, "Rules": rules}) as answer:
            assert answer.status == 200
        async with session.put("/v1/acl/token", json={"Policies": [{"Name": name}]}) as answer:
            token: str = json.loads(await answer.text())["SecretID"]
    return token


async def until_failed(watcher: Watcher) -> str:
    """What the first sighting says, which is that nothing can be told."""
    async with asyncio.timeout(15):
        while not watcher.seen:
            await asyncio.sleep(0.01)
    (failed,) = watcher.seen
    assert isinstance(failed, Failed)
    return str(failed.cause)


async def test_a_token_that_may_not_read_is_not_taken_for_nobody(caplog):
    """Consul answers it with an empty list; a watch, an announcement and the log say what the token lacks."""
    master = str(uuid4())
    one = Instance("one", "orders", (ChannelAddress("rest", "http://h:1"),))
    async with consul_agent(cache=CACHE, token=master) as agent:
        writer = await token_for(agent, master, 'service "orders" { policy = "write" }')
        nodes = await token_for(agent, master, 'node_prefix "" { policy = "read" }')
        reader = await token_for(
            agent, master, 'service_prefix "ord" { policy = "read" }\nnode_prefix "node" { policy = "read" }'
        )
        async with ConsulComponentRegistry(agent.url, token=writer) as announcer, announcer.announce(one):
            assert "one of orders is registered" in caplog.text
            assert 'node_prefix "" read' in caplog.text
            for token, expected in ((writer, "may not read nodes"), (nodes, "may not read the service 'orders'")):
                caplog.clear()
                async with (
                    ConsulComponentRegistry(agent.url, token=token) as registry,
                    watching(registry, "orders", seconds=15) as watcher,
                ):
                    assert expected in await until_failed(watcher)
                assert [each.levelno for each in caplog.records if expected in each.message] == [logging.ERROR]
            async with (
                ConsulComponentRegistry(agent.url) as registry,
                watching(registry, "orders", seconds=15) as watcher,
            ):
                assert "may not read" in await until_failed(watcher)  # no token at all
                with pytest.raises(AuthorizationError, match="may not read nodes"):
                    await registry.instances()
            async with (
                ConsulComponentRegistry(agent.url, token=reader) as registry,
                watching(registry, "orders", seconds=15) as watcher,
                watching(registry, "ordinary", seconds=15) as other,
            ):
                await watcher.until(Bound((one,)))
                await other.until(Absent())


async def test_without_tokens_nobody_is_nobody():
    """Consul without access control cannot say what a token may; an empty list is believed then."""
    async with (
        consul_agent(cache=CACHE) as agent,
        ConsulComponentRegistry(agent.url) as registry,
        watching(registry, "orders", seconds=15) as watcher,
    ):
        await watcher.until(Absent())
        assert watcher.seen == [Absent()]


# --- limits -----------------------------------------------------------------------------------------------------------


def addresses(count: int, url: str = "http://h:1") -> tuple[ChannelAddress, ...]:
    """So many."""
    return tuple(ChannelAddress(f"c{number}", url) for number in range(count))


async def test_what_just_fits_arrives_whole():
    """At the limits of Consul's Meta nothing is lost: 64 pairs, values of many parts, weights above the largest."""
    # The pairs beside the addresses: channels, mesh, id, component, and as many for the others as are given.
    instances = (
        Instance("pairs", "orders", addresses(60)),
        Instance("long", "orders", addresses(1, f"http://h:1/{'ß' * 700}"), health=f"http://h:1/{'x' * 2000}"),
        Instance("heavy", "orders", addresses(1), version="v" * 600, zone="ä" * 300, weight=10**6, digest="d" * 512),
    )
    async with (
        consul_agent(cache=CACHE) as agent,
        ConsulComponentRegistry(agent.url, check="ttl") as registry,
        to(agent) as client,
    ):
        for instance in instances:
            async with registry.announce(instance), watching(registry, "orders", seconds=15) as watcher:
                await watcher.until(Bound((instance,)))
                (found,) = (await client.health("orders")).entries
                assert found.service.meta is not None
                assert (len(found.service.meta) == 64) == (instance.id == "pairs")


@service()
class Wide(Service):
    @abstractmethod
    async def ping(self) -> str: ...


@component(name="wide", services=[Wide])
class WideComponent(Component): ...


@implementation()
class WideImpl(Wide):
    async def ping(self) -> str:
        return "pong"


@implementation()
class WideComponentImpl(AbstractComponent, WideComponent):
    def get_addresses(self, base_url: str) -> list[ChannelAddress]:
        return [ChannelAddress("rest", f"{base_url}/{'x' * 512 * 70}")]


@module()
class WideModule: ...


async def test_what_does_not_fit_is_told_at_the_start(tmp_path):
    """Before anything is served, with the component, the count and the limit; other registries have no such limit."""
    for url, fits in (("consul://127.0.0.1:9", False), ("local:", True)):
        settings = load_settings({"registry": url, "verify_advertise": False}, environ={}, directory=tmp_path)
        app = MeshApp(WideModule, settings=settings)
        if fits:
            async with app.running():
                continue
        with pytest.raises(ConfigurationError, match=r"component 'wide'.*64 pairs, and this takes 7\d: it has 1 addr"):
            async with app.running():
                pass


@pytest.mark.long(90)
@pytest.mark.timeout(240)
async def test_who_is_gone_is_swept():
    """Nobody reports any more, as after SIGKILL: Consul removes the registration after a minute of critical."""
    instance = Instance("gone", "orders", (ChannelAddress("rest", "http://127.0.0.1:9"),))
    async with consul_agent(cache=CACHE) as agent, to(agent) as client:
        await client.register(registration_of(instance))
        begun, found = time.monotonic(), await client.health("orders")
        assert [each.service.id for each in found.entries] == [service_id(instance)]
        while found.entries:
            found = await client.health("orders", index=found.index, wait=60.0, timeout=90.0)
        assert 60 < time.monotonic() - begun < 120  # it looks every half a minute
