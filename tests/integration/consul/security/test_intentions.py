"""Consul's intentions: written, changed and deleted while a process follows them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

from meshcore.ports.installed import make_intention_source
from meshcore.ports.intentions import (
    Action,
    Intention,
    IntentionError,
    Intentions,
    IntentionsByDestination,
    IntentionSource,
)
from meshcore.registry.consul.intentions import ConsulIntentionSource
from meshcore.testing import ConsulAgent, consul_agent
from tests.integration.consul.scene import CACHE
from tests.support.faulty import Fault, faulty

MASTER = "11111111-2222-3333-4444-555555555555"
READER = "66666666-7777-8888-9999-000000000000"
OTHER = "77777777-7777-8888-9999-000000000000"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent() -> AsyncIterator[ConsulAgent]:
    """One agent that allows nothing without a token; READER may read all services of the tests, OTHER another one."""
    async with consul_agent(cache=CACHE, token=MASTER) as started:
        for token, rules in {
            READER: 'service_prefix "" { policy = "read" }',
            OTHER: 'service "x" { policy = "read" }',
        }.items():
            await ask(started, "PUT", "acl/policy", {"Name": token, "Rules": rules})
            await ask(started, "PUT", "acl/token", {"SecretID": token, "Policies": [{"Name": token}]})
        yield started
    await asyncio.get_running_loop().shutdown_default_executor()  # which has looked for the program


async def ask(agent: ConsulAgent, method: str, path: str, body: object = None) -> Any:
    """Tell the agent something, as an administrator."""
    async with (
        aiohttp.ClientSession(headers={"X-Consul-Token": MASTER}) as session,
        session.request(method, f"{agent.url}/v1/{path}", json=body) as answer,
    ):
        text = await answer.text()
        assert answer.status == 200, text
        return json.loads(text) if text.strip() else None


async def write(agent: ConsulAgent, source: str, destination: str, action: str) -> str:
    """Make an intention. Returns its id."""
    body = {"SourceName": source, "DestinationName": destination, "SourceType": "consul", "Action": action}
    made: dict[str, str] = await ask(agent, "POST", "connect/intentions", body)
    return made["ID"]


async def change(agent: ConsulAgent, intention: str, source: str, destination: str, action: str) -> None:
    """Change an intention."""
    body = {"SourceName": source, "DestinationName": destination, "SourceType": "consul", "Action": action}
    await ask(agent, "PUT", f"connect/intentions/{intention}", body)


async def delete(agent: ConsulAgent, intention: str) -> None:
    """Delete an intention."""
    await ask(agent, "DELETE", f"connect/intentions/{intention}")


@pytest.fixture
def name() -> str:
    """A component that no other test has."""
    return f"orders-{uuid4().hex[:8]}"


class Followed:
    """What a source has told last.

    Attributes:
        last: its last news.
        count: of its news.
    """

    def __init__(self, last: IntentionsByDestination) -> None:
        self.last = last
        self.count = 0
        self._told = asyncio.Event()

    async def follow(self, source: IntentionSource) -> None:
        """Take its news, until cancelled."""
        async with aclosing(cast("AsyncGenerator[IntentionsByDestination, None]", source.changes())) as changes:
            async for self.last in changes:
                self.count += 1
                self._told.set()

    async def until(self, wanted: Callable[[IntentionsByDestination], bool]) -> None:
        """Return when the news are as wanted."""
        async with asyncio.timeout(10):
            while not wanted(self.last):
                self._told.clear()
                await self._told.wait()

    async def until_judged(self, destination: str, caller: str, action: Action) -> None:
        """Return when calls of a caller are judged so."""
        await self.until(lambda last: last[destination].judge(caller).action is action)


@asynccontextmanager
async def followed(url: str, *destinations: str, token: str = READER) -> AsyncIterator[Followed]:
    """Follow the intentions for components."""
    source = make_intention_source(f"{url.replace('http:', 'consul:')}?token={token}")
    try:
        seen = Followed(await source.open(destinations))
        following = asyncio.create_task(seen.follow(source))
        try:
            yield seen
        finally:
            following.cancel()
            await asyncio.wait([following])
    finally:
        await source.aclose()


async def test_intentions_are_followed(agent, name, record_property):
    """One that is made, changed and deleted counts within a tenth of a second in the median; nothing else is told."""
    async with followed(agent.url, name, "stock") as seen:
        assert seen.last == {each: Intentions(each, (), Action.DENY) for each in (name, "stock")}
        times: list[float] = []

        async def judged(action: Action, begun: float) -> None:
            await seen.until_judged(name, "web", action)
            times.append(time.perf_counter() - begun)
            await asyncio.sleep(0.25)  # beyond the gap between two queries

        for _ in range(3):
            begun = time.perf_counter()
            intention = await write(agent, "web", name, "allow")
            await judged(Action.ALLOW, begun)
            assert seen.last[name].rules == (Intention("web", Action.ALLOW, f"web => {name}"),)
            assert seen.last["stock"].rules == ()
            begun = time.perf_counter()
            await change(agent, intention, "web", name, "deny")
            await judged(Action.DENY, begun)
            assert seen.last[name].judge("web") == Intention("web", Action.DENY, f"web => {name}")
            await change(agent, intention, "web", name, "allow")
            await seen.until_judged(name, "web", Action.ALLOW)
            await asyncio.sleep(0.25)
            begun = time.perf_counter()
            await delete(agent, intention)
            await judged(Action.DENY, begun)
            assert seen.last[name].rules == ()
        median = sorted(times)[len(times) // 2]
        record_property("change_seconds", median)
        assert median < 0.5  # 7 ms on a machine that has time


async def test_the_precedence_is_consuls(agent, name):
    """Of all intentions that are for a call, the same decides as Consul says: exact names before `*`."""
    callers = ("web", "api", "other")
    made: list[str] = []
    async with followed(agent.url, name) as seen:
        try:
            for source, destination, action in (
                ("*", "*", "allow"),
                ("web", "*", "deny"),
                ("*", name, "deny"),
                ("web", name, "allow"),
                ("api", "*", "allow"),
            ):
                made.append(await write(agent, source, destination, action))
                await seen.until(lambda last: len(last[name].rules) == len(made))
                for caller in callers:
                    check = await ask(agent, "GET", f"connect/intentions/check?source={caller}&destination={name}")
                    assert check["Allowed"] == (seen.last[name].judge(caller).action is Action.ALLOW), caller
            assert seen.last[name].judge("").action is Action.DENY
        finally:
            for intention in made:
                await delete(agent, intention)


async def test_the_default_is_the_agents():
    """Without an ACL Consul allows what no intention is for."""
    async with consul_agent(cache=CACHE) as own, followed(own.url, "orders", token="") as seen:
        assert seen.last["orders"] == Intentions("orders", (), Action.ALLOW)
        intention = await write(own, "*", "orders", "deny")
        await seen.until_judged("orders", "web", Action.DENY)
        await delete(own, intention)
        await seen.until_judged("orders", "web", Action.ALLOW)
        assert seen.last["orders"] == Intentions("orders", (), Action.ALLOW)


async def test_an_agent_that_is_away_for_a_while(agent, name, caplog):
    """Answers that break off or do not come change nothing, and are told of once; then what is true counts."""
    async with faulty(agent.url) as proxy, followed(proxy.url, name) as seen:
        intention = await write(agent, "web", name, "allow")
        await seen.until_judged(name, "web", Action.ALLOW)
        for fault in (Fault.NOT_HTTP, Fault.TRUNCATED, Fault.RESET_AT_ONCE):
            proxy.suffer(fault)
            await asyncio.sleep(0.2)
        assert seen.count == 1
        assert caplog.text.count("the last known stays in use") == 1
        await delete(agent, intention)
        proxy.recover()
        await seen.until_judged(name, "web", Action.DENY)


@pytest.mark.parametrize("token", [OTHER, ""], ids=["of another service", "none"])
async def test_a_token_without_the_right(agent, token, name):
    """The text names the right and the component."""
    with pytest.raises(IntentionError, match=rf'may not read the intentions for \'{name}\' .*service "{name}" read'):
        await ConsulIntentionSource(agent.url, token=token).open([name])


async def may_read(agent: ConsulAgent, token: str, destination: str) -> bool:
    """Whether a token may read the intentions for a component."""
    path = f"{agent.url}/v1/connect/intentions/match?by=destination&name={destination}"
    async with aiohttp.ClientSession(headers={"X-Consul-Token": token}) as session, session.get(path) as answer:
        return answer.status == 200


async def test_a_token_that_loses_its_right(agent, name, caplog):
    """What was read last stays, and the log names the right, once."""
    token = str(uuid4())
    rules = f'service "{name}" {{ policy = "%s" }}'
    made = await ask(agent, "PUT", "acl/policy", {"Name": token, "Rules": rules % "read"})
    await ask(agent, "PUT", "acl/token", {"SecretID": token, "Policies": [{"Name": token}]})
    intention = await write(agent, "web", name, "allow")
    async with followed(agent.url, name, token=token) as seen:
        await ask(agent, "PUT", f"acl/policy/{made['ID']}", {"Name": token, "Rules": rules % "deny"})
        async with asyncio.timeout(20):
            while await may_read(agent, token, name):  # what it may is cached for a while
                await asyncio.sleep(0.05)
            await delete(agent, intention)
            while f"may not read the intentions for '{name}'" not in caplog.text:
                await asyncio.sleep(0.05)
        assert caplog.text.count("may not read") == 1
        assert seen.last[name].judge("web").action is Action.ALLOW


async def test_an_agent_that_is_away_at_the_start():
    """The text says where it was looked for, and nothing of the token."""
    source = make_intention_source("consul:", f"consul://127.0.0.1:1?token={MASTER}")
    with pytest.raises(IntentionError, match=r"no intentions from http://127.0.0.1:1: .*onnect") as caught:
        await source.open(["orders"])
    assert MASTER not in str(caught.value) + repr(source)


async def test_one_query_for_all_components(agent):
    """While nothing changes there is one request that waits, however many components there are."""
    async with faulty(agent.url) as proxy, followed(proxy.url, *(f"c-{number}" for number in range(5))) as seen:
        before = proxy.requests
        await asyncio.sleep(1.0)
        assert proxy.requests - before <= 1
        assert seen.count == 0
