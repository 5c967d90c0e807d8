"""A fleet of simulated servers and the clients that call them through the client stack that runs in production."""

from __future__ import annotations

import asyncio
import random
import sys
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks.simulation.server import Server
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
from meshcore.traffic.selectors import PolicyURLSelector
from meshcore.traffic.traffic import Traffic


@service()
class Shop(Service):
    """What is called."""

    @abstractmethod
    @idempotent
    async def look(self) -> None:
        """May be repeated."""

    @abstractmethod
    async def buy(self) -> None:
        """Must not be repeated once it has begun."""


@component(services=[Shop])
class ShopComponent(Component):
    """What offers it."""


SHOP = describe_component(ShopComponent, [])
LOOK, BUY = SHOP.services[0].methods
CHANNEL = "simulated"


class Sample(msgspec.Struct):
    """One call.

    Attributes:
        begun: in seconds of the simulation.
        seconds: how long it took.
        succeeded: whether it was answered.
    """

    begun: float
    seconds: float
    succeeded: bool


class Fleet:
    """Servers by id, and what was asked of them.

    Attributes:
        servers: those that are there.
        attempts: calls that were sent to any of them.
        samples: calls of clients, in the order in which they ended.
    """

    def __init__(self, seed: str, clock: Callable[[], float], *, shedding: bool) -> None:
        self.seed = seed
        self.clock = clock
        self.servers: dict[str, Server] = {}
        self.attempts = 0
        self.samples: list[Sample] = []
        self._shedding = shedding
        self._reporting: list[asyncio.Task[None]] = []

    def add(self, name: str) -> Server:
        """One more server."""
        server = Server(random.Random(f"{self.seed} {name}"), self.clock, shedding=self._shedding)
        self.servers[name] = server
        self._reporting.append(asyncio.get_running_loop().create_task(server.report_lag()))
        return server

    def sighting(self) -> Bound:
        """What a registry would report."""
        address = (ChannelAddress(CHANNEL, "http://simulated"),)
        return Bound(tuple(Instance(name, SHOP.name, address) for name in sorted(self.servers)))

    def close(self) -> None:
        """Report no lag any more."""
        for task in self._reporting:
            task.cancel()


class SimulatedChannel(Channel):
    """Hands a call to a simulated server."""

    def __init__(self, fleet: Fleet, rng: random.Random) -> None:
        self._fleet = fleet
        self._rng = rng

    def bind(self, component: ComponentDescription, options: ChannelOptions) -> None:
        """As every channel, but with the chance of the simulation."""
        super().bind(component, options)
        self.select(PolicyURLSelector(self._rng, options.zone, options.slow_start))

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        """Send it."""
        self._fleet.attempts += 1
        await self._fleet.servers[endpoint.instance].serve(call)


class Client:
    """One calling process: a traffic, a destination and a client stack of its own.

    Args:
        fleet: whom it calls.
        number: which one it is.
        rules: the numbers that govern its calls.
        resilient: whether it repeats what failed or is slow.
        repeatable: whether its calls are idempotent.
    """

    def __init__(self, fleet: Fleet, number: int, rules: Rules, *, resilient: bool, repeatable: bool) -> None:
        self.rate = 0.0
        self._fleet = fleet
        self._rng = random.Random(f"{fleet.seed} client {number}")
        self._arrivals = random.Random(f"{fleet.seed} arrivals {number}")
        self._rules = rules
        traffic = Traffic(SHOP.name, rules, fleet.clock, self._rng)
        # The registry is not asked: what it would report is shown to the destination.
        self.destination = Destination(SHOP, LocalComponentRegistry(), frozenset({CHANNEL}), self._make, traffic)
        balance = Balancer(self.destination, "")
        by_method = {LOOK: rules, BUY: rules}
        self._handler = client_stack(
            balance, traffic, rules=by_method, interceptors=(), limit=Limit(sys.maxsize), resilient=resilient
        )
        self._call = Call(LOOK if repeatable else BUY)
        self._running: set[asyncio.Task[None]] = set()

    async def _make(self, name: str, component: ComponentDescription) -> Channel:
        assert name == CHANNEL
        channel = SimulatedChannel(self._fleet, self._rng)
        channel.bind(component, ChannelOptions(slow_start=self._rules.slow_start))
        return channel

    def start(self) -> None:
        """Call at `rate` per second from now on, at random, however long the answers take: nobody out there waits.

        Callers that wait for their answers would spare a slow fleet, and hide what an overload is.
        """
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.time()
        self._schedule()

    def _schedule(self) -> None:
        self._next += self._arrivals.expovariate(self.rate)
        self._timer = self._loop.call_at(self._next, self._arrive)

    def _arrive(self) -> None:
        self._schedule()
        task = self._loop.create_task(self._one())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _one(self) -> None:
        clock = self._fleet.clock
        begun = clock()
        succeeded = False
        try:
            await self._handler(self._call)
            succeeded = True
        except MeshError:
            pass
        self._fleet.samples.append(Sample(begun, clock() - begun, succeeded))

    async def stop(self) -> None:
        """No further call; wait for those that run."""
        self._timer.cancel()
        while self._running:
            await asyncio.gather(*self._running)
