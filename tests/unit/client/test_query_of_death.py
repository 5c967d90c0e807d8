"""A call that stops each instance that gets it reaches two of them, in virtual time through the whole client stack."""

from __future__ import annotations

import asyncio
import random
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from meshcore import (
    Attempt,
    Bound,
    Call,
    Channel,
    ChannelAddress,
    ChannelOptions,
    Code,
    CommunicationError,
    Component,
    Endpoint,
    Instance,
    MeshError,
    PolicyURLSelector,
    Service,
    component,
    idempotent,
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
from meshcore.traffic.outcome import Outcome
from meshcore.traffic.traffic import Traffic

pytestmark = pytest.mark.long  # they simulate hundreds of calls


@service()
class Shop(Service):
    @abstractmethod
    @idempotent
    async def look(self) -> str: ...

    @abstractmethod
    @idempotent
    async def poison(self) -> str: ...


@component(services=[Shop])
class ShopComponent(Component): ...


SHOP = describe_component(ShopComponent, [])
LOOK, POISON = SHOP.services[0].methods
FOR_EVER = 1e9


class Instances(Channel):
    """Instances that answer after a while, unless they have stopped.

    Attributes:
        stopped: by id, the time from which it answers nothing.
        poisoned: how often the poison reached each.
        takes: what the poison does: an instance stops, or crashes, so many seconds after it came.
    """

    def __init__(self) -> None:
        self.stopped: dict[str, float] = {}
        self.poisoned = Counter[str]()
        self.crash = False
        self.takes = 0.0

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        """Take a call."""
        loop = asyncio.get_running_loop()
        name = endpoint.instance
        if call.method is POISON:
            self.poisoned[name] += 1
            await asyncio.sleep(self.takes)
            self.stopped.setdefault(name, loop.time())
            if self.crash:
                raise CommunicationError(Code.UNAVAILABLE, "lost")
        await asyncio.sleep(0.01)
        if self.stopped.get(name, FOR_EVER) <= loop.time():
            await asyncio.sleep(FOR_EVER)
        return name


class Client:
    """A caller of instances.

    Args:
        names: of the instances, one letter each.
    """

    def __init__(self, names: str) -> None:
        rules = Rules()
        traffic = Traffic(SHOP.name, rules, asyncio.get_running_loop().time, random.Random(1))
        self.channel = Instances()
        destination = Destination(SHOP, LocalComponentRegistry(), frozenset({"one"}), self._make, traffic)
        address = (ChannelAddress("one", "http://one"),)
        destination.update(Bound(tuple(Instance(name, SHOP.name, address) for name in names)))
        by_method = {LOOK: rules, POISON: rules}
        balance = Balancer(destination, "")
        self.call = client_stack(balance, traffic, rules=by_method, interceptors=(), limit=Limit(1000))

    async def _make(self, name: str, component: ComponentDescription) -> Channel:
        self.channel.bind(component, ChannelOptions())
        self.channel.selector = PolicyURLSelector(random.Random(1))
        return self.channel

    async def look(self, per_second: float, seconds: float) -> Counter[str]:
        """Other calls, one after the other began, and what became of them."""
        found = Counter[str]()

        async def one() -> None:
            try:
                await self.call(Call(LOOK))
                found["answered"] += 1
            except MeshError:
                found["failed"] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(int(per_second * seconds)):
                group.create_task(one())
                await asyncio.sleep(1 / per_second)
        return found


def run(scenario: Callable[[], Any]) -> None:
    """In virtual time."""
    run_virtually(scenario())


@pytest.mark.parametrize("per_second", [0, 1, 20, 300])
@pytest.mark.parametrize("takes", [0.0, 0.15])
def test_a_call_that_blocks_instances_reaches_two(per_second: float, takes: float) -> None:
    """However many other calls there are, and also if instances block only a while after the call came."""

    async def scenario() -> None:
        client = Client("abcdefg")
        await client.look(100, 2)
        others = asyncio.create_task(client.look(per_second, 20))
        await asyncio.sleep(0.5)
        client.channel.takes = takes
        with pytest.raises(MeshError, match="not answered within"):
            await client.call(Call(POISON))
        assert len(client.channel.poisoned) == 2
        assert set(client.channel.stopped) == set(client.channel.poisoned)
        found = await others
        # Another call that met both of them at that moment looks like the poison.
        assert found["failed"] <= 0.001 * per_second * 20

    run(scenario)


@pytest.mark.parametrize("takes", [0.0, 0.15, 2.0])
def test_a_call_that_crashes_instances_reaches_two(takes: float) -> None:
    """Its connection is lost; it is sent again once elsewhere, and then only to those two."""

    async def scenario() -> None:
        client = Client("abcdefg")
        await client.look(100, 2)
        client.channel.crash = True
        client.channel.takes = takes
        with pytest.raises(CommunicationError, match=r"lost|not answered"):
            await client.call(Call(POISON))
        assert len(client.channel.poisoned) == 2

    run(scenario)


def test_an_instance_that_answers_others_is_no_suspect() -> None:
    """A call that waits for ever at two instances which go on with other calls is sent to a third."""

    async def scenario() -> None:
        client = Client("abcd")

        async def invoke(call: Call, endpoint: Endpoint) -> str:
            if call.method is POISON and len(client.channel.poisoned) < 2:
                client.channel.poisoned[endpoint.instance] += 1
                await asyncio.sleep(FOR_EVER)
            await asyncio.sleep(0.01)
            return endpoint.instance

        client.channel.invoke = invoke  # type: ignore[method-assign]
        others = asyncio.create_task(client.look(100, 9))
        await asyncio.sleep(1)
        assert await client.call(Call(POISON)) not in client.channel.poisoned
        assert len(client.channel.poisoned) == 2
        await others

    run(scenario)


def test_instances_that_hung_before_do_not_keep_a_call_from_the_others() -> None:
    """Three of four hang; the calls that come once that is known find the fourth."""

    async def scenario() -> None:
        client = Client("abcd")
        await client.look(100, 2)
        now = asyncio.get_running_loop().time()
        client.channel.stopped |= dict.fromkeys("abc", now)
        await client.look(50, 2)
        found = await client.look(20, 5)
        assert found["failed"] == 0

    run(scenario)


def test_an_instance_that_lost_calls_before_is_no_suspect() -> None:
    """Until it has answered again: a call says nothing of what was broken when it came."""
    now = 0.0
    traffic = Traffic(SHOP.name, Rules(), lambda: now, random.Random(1))
    traffic.update("ab")

    def attempt(instance: str, began: float) -> Attempt:
        traffic.ejection.begin(instance)
        traffic.end(instance, Outcome.FAILED, began + 0.1, probe=False, answered=False)
        return Attempt(instance, "one", began, 0.1, "unavailable")

    first = attempt("a", 1.0)
    assert traffic.suspects([first]) == ("a",)
    assert traffic.suspects([attempt("a", 2.0), attempt("b", 2.2)]) == ("b",)
    traffic.end("a", Outcome.SUCCEEDED, 3.0, probe=False, answered=True)
    assert traffic.suspects([attempt("a", 4.0)]) == ("a",)
