"""Calls that cannot be repeated beside an instance that hangs, in virtual time: few of them are sent to it."""

from __future__ import annotations

import asyncio
import random
from abc import abstractmethod
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from meshcore import (
    Bound,
    Call,
    Channel,
    ChannelAddress,
    ChannelOptions,
    Component,
    Endpoint,
    Instance,
    MeshError,
    Service,
    component,
    service,
)
from meshcore.client.balancer import Balancer
from meshcore.client.deadline import Limit
from meshcore.client.destination import Destination
from meshcore.client.stack import client_stack
from meshcore.core.description import ComponentDescription
from meshcore.core.policy import Rules
from meshcore.declare.reader import describe_component
from meshcore.registry import LocalComponentRegistry
from meshcore.testing import run_virtually
from meshcore.traffic.instance_monitor import State
from meshcore.traffic.traffic import Traffic

pytestmark = pytest.mark.long  # they simulate thousands of calls


@service()
class Shop(Service):
    @abstractmethod
    async def buy(self) -> str: ...


@component(services=[Shop])
class ShopComponent(Component): ...


SHOP = describe_component(ShopComponent, [])
(BUY,) = SHOP.services[0].methods


class Instances(Channel):
    """Instances of which some hang.

    Attributes:
        hung: the ids of those.
        asked: how many calls each got.
        checks: how often each was asked whether it is alive.
        broken: the check raises.
    """

    def __init__(self) -> None:
        self.hung: set[str] = set()
        self.asked = Counter[str]()
        self.checks = Counter[str]()
        self.broken = False

    async def _answer(self, name: str) -> None:
        while name in self.hung:
            await asyncio.sleep(0.05)

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        """Take a call."""
        self.asked[endpoint.instance] += 1
        await asyncio.sleep(0.01)
        await self._answer(endpoint.instance)
        return endpoint.instance

    async def is_alive(self, endpoint: Endpoint) -> bool | None:
        """Whether it answers within a second."""
        self.checks[endpoint.instance] += 1
        if self.broken:
            raise ZeroDivisionError("a mistake")
        try:
            async with asyncio.timeout(1.0):
                await self._answer(endpoint.instance)
        except TimeoutError:
            return False
        return True


class Client:
    """A caller who only writes.

    Attributes:
        channel: to the instances.
        failed: calls that failed.
    """

    def __init__(self, names: str, timeout: float = 3.0) -> None:
        rules = Rules(timeout=timeout)
        self.traffic = Traffic(SHOP.name, rules, asyncio.get_running_loop().time, random.Random(1))
        self.channel = Instances()
        self.failed = 0
        self.destination = Destination(SHOP, LocalComponentRegistry(), frozenset({"one"}), self._make, self.traffic)
        address = (ChannelAddress("one", "http://one"),)
        self.destination.update(Bound(tuple(Instance(name, SHOP.name, address) for name in names)))
        self.call = client_stack(
            Balancer(self.destination, ""), self.traffic, rules={BUY: rules}, interceptors=(), limit=Limit(10_000)
        )
        self.checking = asyncio.create_task(self.destination.check_doubted())

    async def _make(self, name: str, component: ComponentDescription) -> Channel:
        self.channel.bind(component, ChannelOptions())
        return self.channel

    async def buy(self, per_second: float, seconds: float, patience: float = 1e9) -> None:
        """Begin calls for so long. Callers leave when they have no more patience."""

        async def one() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    try:
                        await self.call(Call(BUY))
                    except MeshError:
                        self.failed += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(int(per_second * seconds)):
                group.create_task(one())
                await asyncio.sleep(1 / per_second)

    async def close(self) -> None:
        """Check nothing any more."""
        self.checking.cancel()
        await asyncio.wait([self.checking])


@pytest.mark.parametrize("names", ["ab", "abcd"])
@pytest.mark.parametrize("per_second", [2, 20, 100])
@pytest.mark.parametrize("patience", [1e9, 0.5])
def test_a_hung_instance_gets_few_writes_and_is_asked_again_when_it_is_well(
    names: str, per_second: float, patience: float
) -> None:
    """Those that are under way before that is noticed; no probe but checks while it hangs; then its share again."""

    async def scenario() -> None:
        client = Client(names)
        await client.buy(per_second, 30)
        client.channel.hung.add("a")
        client.channel.asked.clear()
        await client.buy(per_second, 60, patience)
        lost = client.channel.asked["a"]
        # By the law of two choices, one more call is sent there for each that the others have in flight.
        assert lost <= 4 + per_second / 50
        if patience == 1e9:
            assert client.channel.checks["a"] > 3
            assert client.traffic.ejection["a"].state is State.EJECTED
        client.channel.hung.clear()
        await client.buy(per_second, 70)
        client.channel.asked.clear()
        await client.buy(per_second, 30)
        share = client.channel.asked["a"] / client.channel.asked.total()
        assert share == pytest.approx(1 / len(names), abs=0.05)
        await client.close()

    run_virtually(scenario())


def test_a_call_that_is_slow_ejects_nobody() -> None:
    """It misses its deadline, but its server answers the check."""

    async def scenario() -> None:
        client = Client("ab", timeout=0.5)
        client.channel.hung.update("ab")
        answers = client.channel.is_alive

        async def is_alive(endpoint: Endpoint) -> bool | None:
            await answers(endpoint)
            return True

        client.channel.is_alive = is_alive  # type: ignore[method-assign]
        await client.buy(1, 4)
        await asyncio.sleep(2.0)
        assert client.failed == 4
        assert client.channel.checks.total() > 0
        assert not client.traffic.ejection.avoided
        await client.close()

    run_virtually(scenario())


def test_a_check_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A user's own channel may have a mistake: it is logged, and a call is risked as without a check."""

    async def scenario() -> None:
        client = Client("ab", timeout=0.5)
        await client.buy(20, 2)
        client.channel.hung.add("a")
        client.channel.broken = True
        await client.buy(20, 20)
        assert not client.checking.done()
        await client.close()

    run_virtually(scenario())
    assert "asking whether a is alive failed" in caplog.text
