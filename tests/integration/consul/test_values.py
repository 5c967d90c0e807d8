"""Values in the key/value store of real Consul agents that change, restart, forget, refuse and are not there."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Annotated, Any

import aiohttp
import pytest

from meshcore import ConfigurationError, Mesh, Value, inject_value, injectable, load_settings, module
from meshcore.core.instances import Failed
from meshcore.registry import ConsulValueSource
from meshcore.registry.consul.api.client import ConsulClient
from meshcore.registry.consul.api.config import read_config
from meshcore.testing import ConsulAgent, consul_agent
from tests.integration.consul.scene import CACHE, to
from tests.support.faulty import Fault, faulty

PREFIX = "mesh/test"
MASTER = "11111111-2222-3333-4444-555555555555"
READER = "66666666-7777-8888-9999-000000000000"


@injectable()
class Shop:
    def __init__(
        self,
        currency: Annotated[str, inject_value("shop.currency")],
        limit: Annotated[Value[int], inject_value("shop.limit", default=10)],
        rate: Annotated[Value[float], inject_value("shop.rate")],
    ) -> None:
        self.currency = currency
        self.limit = limit
        self.rate = rate


@module(provides=[Shop])
class ShopModule: ...


def mesh(url: str, environ: dict[str, str] | None = None, token: str = "") -> Mesh:
    """A mesh with values of an agent."""
    source = f"{url.replace('http:', 'consul:')}/{PREFIX}?token={token}"
    return Mesh(
        ShopModule, settings=load_settings({"registry": "local:", "value_source": source}, environ=environ or {})
    )


async def write(client: ConsulClient, **values: str) -> None:
    """Set keys of the shop."""
    for name, value in values.items():
        await client.write(f"{PREFIX}/shop/{name}", value.encode())


HEADERS = {"X-Consul-Token": MASTER}


async def delete(agent: ConsulAgent, path: str) -> None:
    """Delete something, as an administrator."""
    async with aiohttp.ClientSession(headers=HEADERS) as session, session.delete(f"{agent.url}/v1/{path}") as answer:
        assert answer.status == 200


async def put(agent: ConsulAgent, path: str, body: object) -> dict[str, Any]:
    """Tell the agent something, as an administrator."""
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.put(f"{agent.url}/v1/{path}", json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def becomes(value: Value[Any], expected: object, seconds: float = 10.0) -> None:
    """Return when a value is what is expected."""
    async with asyncio.timeout(seconds), aclosing(value.changes()) as changes:
        if value.get() != expected:
            async for new in changes:
                if new == expected:
                    return


async def test_a_change_is_seen_at_once(record_property):
    """Within milliseconds, and a deletion as well; only for a Value; whatever else lies beside it is no matter."""
    async with consul_agent(cache=CACHE) as agent, to(agent) as client:
        await write(client, currency="EUR", limit="1", rate="0.5")
        for key, value in (("shop/", b""), ("shop/a.b", b"1"), ("shop/raw", b"\xff"), ("shop/limit/x", b"")):
            await client.write(f"{PREFIX}/{key}", value)
        await client.write(f"{PREFIX}-other/shop/limit", b"99")
        async with mesh(agent.url) as running:
            shop = await running.get(Shop)
            assert (shop.currency, shop.limit.get(), shop.rate.get()) == ("EUR", 1, 0.5)
            times = []
            for number in range(2, 22):
                await asyncio.sleep(0.12)  # beyond the gap between two queries
                began = time.perf_counter()
                await write(client, limit=str(number))
                await becomes(shop.limit, number)
                times.append(time.perf_counter() - began)
            record_property("change_seconds", sorted(times)[len(times) // 2])
            assert sorted(times)[len(times) // 2] < 0.5
            await write(client, currency="USD")
            await delete(agent, f"kv/{PREFIX}/shop/limit")
            await becomes(shop.limit, 10)
            assert shop.currency == "EUR"


async def test_a_wrong_value_changes_nothing(caplog):
    """The last right one stays; the log names the key and the reason; the next right one is taken."""
    async with consul_agent(cache=CACHE) as agent, to(agent) as client:
        await write(client, currency="EUR", limit="1", rate="0.5")
        async with mesh(agent.url) as running:
            shop = await running.get(Shop)
            await write(client, rate="much", limit="2")
            await becomes(shop.limit, 2)
            await asyncio.sleep(0.1)
            assert shop.rate.get() == 0.5
            assert "the setting 'shop.rate' does not fit: Expected `float`" in caplog.text
            await write(client, rate="0.75")
            await becomes(shop.rate, 0.75)


@pytest.mark.long
@pytest.mark.parametrize("keeps_data", [True, False], ids=["with its data", "without its data"])
async def test_an_agent_is_restarted(keeps_data):
    """Values stay while it is away and when it has forgotten them; what is written then is seen."""
    async with consul_agent(cache=CACHE, keeps_data=keeps_data) as agent, to(agent) as client:
        await write(client, currency="EUR", limit="1", rate="0.5")
        async with mesh(agent.url) as running:
            shop = await running.get(Shop)
            await (agent.stop() if keeps_data else agent.kill())
            await asyncio.sleep(0.3)  # it is gone for a while, and that is the point
            await agent.start()
            await asyncio.sleep(1.0)  # in which the values must not vanish
            assert (shop.limit.get(), shop.rate.get()) == (1, 0.5)
            await write(client, rate="0.75")
            await becomes(shop.rate, 0.75)
            assert shop.limit.get() == 1  # not yet written again, it has its time


async def test_an_agent_that_freezes_or_breaks_off():
    """Values stay, and the next ones are seen."""
    async with consul_agent(cache=CACHE) as agent, faulty(agent.url) as proxy, to(agent) as client:
        await write(client, currency="EUR", limit="1", rate="0.5")
        async with mesh(proxy.url) as running:
            shop = await running.get(Shop)
            agent.freeze()
            await asyncio.sleep(0.3)
            agent.thaw()
            await write(client, limit="2")
            await becomes(shop.limit, 2)
            for number, fault in enumerate((Fault.RESET_AT_ONCE, Fault.NOT_HTTP, Fault.TRUNCATED), 3):
                proxy.suffer(fault)
                await write(client, limit=str(number))
                await asyncio.sleep(0.2)
                proxy.recover()
                await becomes(shop.limit, number)
                assert shop.rate.get() == 0.5


async def test_one_query_for_all_values():
    """However many values there are: one connection, and no question while nothing changes."""
    async with consul_agent(cache=CACHE) as agent, faulty(agent.url) as proxy, to(agent) as client:
        await write(client, currency="EUR", limit="1", rate="0.5")
        async with mesh(proxy.url):
            await asyncio.sleep(1.0)
            assert proxy.requests <= 2  # the first, and the one that blocks


async def test_keys_that_are_not_there_at_the_start():
    """With a default it is taken, without one the mesh does not start, and says which."""
    async with consul_agent(cache=CACHE) as agent, to(agent) as client:
        await write(client, currency="EUR")
        with pytest.raises(ConfigurationError, match=r"Shop\(rate\): no setting gives 'shop.rate'"):
            async with mesh(agent.url):
                pass
        await write(client, rate="0.5")
        async with mesh(agent.url) as running:
            assert (await running.get(Shop)).limit.get() == 10


@pytest.mark.long
async def test_an_agent_that_is_not_there_at_the_start():
    """After 5 s the start fails and says what to look at; a process whose environment says all does start."""
    began = time.monotonic()
    with pytest.raises(
        ConfigurationError, match=r"'shop.limit' would come from the setting value_source.*127.0.0.1:1:"
    ):
        async with mesh("http://127.0.0.1:1"):
            pass
    assert 4.9 < time.monotonic() - began < 7
    began = time.monotonic()
    async with mesh("http://127.0.0.1:1", {"SHOP_CURRENCY": "EUR", "SHOP_LIMIT": "1", "SHOP_RATE": "1"}) as running:
        assert (await running.get(Shop)).limit.get() == 1
    assert time.monotonic() - began < 3


async def test_a_token_is_needed():
    """A wrong one fails the start at once; the right one works, and is not told to anybody."""
    async with consul_agent(cache=CACHE, token=MASTER) as agent:
        async with ConsulClient(read_config(agent.url, {"token": MASTER})) as client:
            await write(client, currency="EUR", rate="0.5")
        began = time.monotonic()
        with pytest.raises(ConfigurationError, match=r"value_source, which fails:.*403: .*ACL not found") as caught:
            async with mesh(agent.url, token=READER):
                pass
        assert READER not in str(caught.value)
        assert time.monotonic() - began < 3
        async with mesh(agent.url, token=MASTER) as running:
            assert (await running.get(Shop)).currency == "EUR"


@pytest.mark.parametrize("token", [READER, ""], ids=["of others", "none"])
async def test_a_token_without_the_right_fails_the_start(token):
    """Consul answers it that there are no keys; the default is not taken, as operators may have written another."""
    async with consul_agent(cache=CACHE, token=MASTER) as agent:
        await put(agent, "acl/policy", {"Name": "other", "Rules": 'service_prefix "" { policy = "read" }'})
        await put(agent, "acl/token", {"SecretID": READER, "Policies": [{"Name": "other"}]})
        with pytest.raises(ConfigurationError, match=rf'may not read keys .*key_prefix "{PREFIX}/" read'):
            async with mesh(agent.url, {"SHOP_CURRENCY": "EUR", "SHOP_RATE": "1"}, token):
                pass


@pytest.mark.parametrize("how", ["quietly", "and a key is written", "and its token"])
async def test_a_token_that_loses_its_right_deletes_nothing(how):
    """Consul answers that nothing is there, which is not believed, or refuses the token; watchers are told why."""
    async with (
        consul_agent(cache=CACHE, token=MASTER) as agent,
        ConsulClient(read_config(agent.url, {"token": MASTER})) as client,
        ConsulClient(read_config(agent.url, {"token": READER})) as reader,
    ):
        await write(client, limit="1")
        rules = 'key_prefix "%s/" { policy = "%s" }'
        policy = await put(agent, "acl/policy", {"Name": "reader", "Rules": rules % (PREFIX, "read")})
        token = await put(agent, "acl/token", {"SecretID": READER, "Policies": [{"Name": "reader"}]})
        async with aclosing(ConsulValueSource(PREFIX, agent.url, token=READER).watch()) as views:
            assert await anext(views) == {"shop.limit": "1"}
            await put(agent, f"acl/policy/{policy['ID']}", {"Name": "reader", "Rules": rules % (PREFIX, "deny")})
            async with asyncio.timeout(10):
                while (await reader.tree(f"{PREFIX}/")).pairs:
                    await asyncio.sleep(0.05)
            if how == "and a key is written":
                await client.write(f"{PREFIX}/shop/other", b"x")
            if how == "and its token":
                await delete(agent, f"acl/token/{token['AccessorID']}")
            async with asyncio.timeout(10):
                news = await anext(views)
            assert isinstance(news, Failed)
            assert ("ACL not found" if how == "and its token" else "may not read keys") in str(news.cause)


async def test_nothing_is_left():
    """No task when the mesh has stopped, whether the agent is there or not."""
    before = asyncio.all_tasks()
    async with consul_agent(cache=CACHE) as agent, to(agent) as client:
        await write(client, currency="EUR", rate="0.5")
        during = asyncio.all_tasks()
        async with mesh(agent.url):
            assert asyncio.all_tasks() > during
        assert asyncio.all_tasks() == during
        async with mesh(agent.url):
            await agent.kill()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("url", ["consul://host:8500", "consul:", "consul:///", "consul://host:8500/a?tokn=1"])
def test_a_url_that_does_not_fit(url):
    """The text says what is missing or wrong."""
    with pytest.raises(ValueError, match=r"prefix|tokn"):
        ConsulValueSource.from_url(url)


def test_the_url_is_the_registrys_and_a_prefix(monkeypatch):
    """Options and environment are the same; the prefix may be percent-encoded."""
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "elsewhere:1")
    source = ConsulValueSource.from_url("consul://host:8500/my/pre%20fix/?datacenter=dc2")
    assert repr(source) == "ConsulValueSource('my/pre fix/', 'http://host:8500')"
    assert source._config.datacenter == "dc2"
    assert repr(ConsulValueSource.from_url("consul:///p")) == "ConsulValueSource('p/', 'http://elsewhere:1')"
