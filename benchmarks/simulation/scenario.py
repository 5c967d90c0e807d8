"""What is simulated: what is the matter with the fleet, and which parts of the data plane are switched on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

import msgspec

from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.server import Server
from meshcore.core.policy import Balance, Rules

INSTANCES = 10
CLIENTS = 5
TIMEOUT = 1.0
"""Seconds; fifty times what a call takes."""

SLOWER = 10.0
COLD = 5.0
"""Seconds for which a new instance is slow."""

FLAP = 2.0
"""Seconds for which the flapping instance is up, and down."""


class Fault(Enum):
    """What is the matter with one of the instances, from the beginning of the measurement on."""

    SLOW = "one 10 times slower"
    FAILING = "one failing fast"
    FLAPPING = "one flapping"
    COLD = "one cold"


HEALTHY: tuple[Fault, ...] = ()
ALL = tuple(Fault)


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """Which parts are switched on: the defaults of the project, unless something is said."""

    balance: Balance = "least-loaded"
    ejection: bool = True
    retries: bool = True
    hedging: bool = True
    shedding: bool = True
    repeatable: bool = True

    @property
    def rules(self) -> Rules:
        """The policy of the clients: the defaults, but for what is switched off."""
        rules = Rules(timeout=TIMEOUT, balance=self.balance)
        if not self.ejection:
            rules = msgspec.structs.replace(rules, max_ejected=0.0)
        if not self.hedging:
            rules = msgspec.structs.replace(rules, max_extra_load=0.0)
        if not self.retries:
            rules = msgspec.structs.replace(rules, attempts=1)
        return rules

    def __str__(self) -> str:
        off = [name for name in ("ejection", "retries", "hedging", "shedding") if not getattr(self, name)]
        if off == ["ejection", "retries", "hedging", "shedding"]:
            off = ["everything else"]
        elif off == ["ejection", "retries", "hedging"]:
            off = ["everything but shedding"]
        text = f"{self.balance}, {' and '.join(off)} off" if off else self.balance
        return text if self.repeatable else f"{text}, not idempotent"


class Scenario(msgspec.Struct, frozen=True):
    """What happens.

    Attributes:
        load: calls per second, as a share of what the healthy fleet can do.
        faults: what is the matter, each with an instance of its own.
    """

    load: float
    faults: tuple[Fault, ...] = HEALTHY

    def __str__(self) -> str:
        if self.faults == ALL:
            what = "all four at once"
        else:
            what = " and ".join(fault.value for fault in self.faults) or "healthy"
        return f"{what}, load {self.load:.0%}"


async def _slow(server: Server) -> None:
    server.slowness = SLOWER


async def _failing(server: Server) -> None:
    server.failing = True


async def _flapping(server: Server) -> None:
    while True:
        server.failing = not server.failing
        await asyncio.sleep(FLAP)


async def _cold(server: Server) -> None:
    server.slowness = SLOWER
    await asyncio.sleep(COLD)
    server.slowness = 1.0


_COURSES: dict[Fault, Callable[[Server], Coroutine[Any, Any, None]]] = {
    Fault.SLOW: _slow,
    Fault.FAILING: _failing,
    Fault.FLAPPING: _flapping,
    Fault.COLD: _cold,
}


def names(faults: tuple[Fault, ...]) -> list[str]:
    """The instances that are there before anything is the matter; a cold one comes later."""
    return [f"instance-{number}" for number in range(INSTANCES - (Fault.COLD in faults))]


def befall(fleet: Fleet, faults: tuple[Fault, ...]) -> list[asyncio.Task[None]]:
    """Let it happen from now on.

    Returns:
        What is to be cancelled in the end.
    """
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    for number, fault in enumerate(faults):
        name = f"instance-{INSTANCES - 1}" if fault is Fault.COLD else f"instance-{number}"
        server = fleet.add(name) if fault is Fault.COLD else fleet.servers[name]
        tasks.append(loop.create_task(_COURSES[fault](server)))
    return tasks
