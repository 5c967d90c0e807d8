"""Runs one variant in one scenario, in virtual time, and works out what came of it."""

from __future__ import annotations

import asyncio
from math import ceil

import msgspec

from benchmarks.simulation.fleet import Client, Fleet, Sample
from benchmarks.simulation.scenario import CLIENTS, INSTANCES, Scenario, Variant, befall, names
from benchmarks.simulation.server import CAPACITY
from meshcore.testing import run_virtually

WARM_UP, WARM = 4.0, 0.5
"""Seconds, and load, before anything is the matter: latencies and limits are known by then, as in a running system."""


class Found(msgspec.Struct, frozen=True):
    """What came of a run, of the calls that began after the warm-up.

    Attributes:
        p50: seconds, of all calls, those that failed too: so long did their callers wait. So are the next two.
        p99: as above.
        p999: as above.
        success: share of the calls that succeeded.
        amplification: attempts per call.
        goodput: calls per second that succeeded, as a share of what the healthy fleet can do.
        calls: how many.
    """

    p50: float
    p99: float
    p999: float
    success: float
    amplification: float
    goodput: float
    calls: int


class Run(msgspec.Struct, frozen=True):
    """The calls of a run, with the warm-up.

    Attributes:
        samples: in the order in which they ended.
        attempts: from the beginning of the measurement on.
        seconds: of the measurement.
    """

    samples: list[Sample]
    attempts: int
    seconds: float

    def found(self) -> Found:
        """What they amount to."""
        measured = [each for each in self.samples if each.begun >= WARM_UP]
        end = WARM_UP + self.seconds
        took = sorted(each.seconds for each in measured)
        good = sum(each.succeeded and each.begun + each.seconds <= end for each in measured)
        return Found(
            quantile(took, 0.5),
            quantile(took, 0.99),
            quantile(took, 0.999),
            success=sum(each.succeeded for each in measured) / len(measured),
            amplification=self.attempts / len(measured),
            goodput=good / self.seconds / (CAPACITY * INSTANCES),
            calls=len(measured),
        )


def quantile(ordered: list[float], share: float) -> float:
    """The least that so many are not above."""
    return ordered[max(ceil(share * len(ordered)), 1) - 1]


def simulate(scenario: Scenario, variant: Variant, seconds: float, seed: int) -> Run:
    """Run it. The same arguments give the same calls."""
    return run_virtually(_simulate(scenario, variant, seconds, seed))


async def _simulate(scenario: Scenario, variant: Variant, seconds: float, seed: int) -> Run:
    fleet = Fleet(str(seed), asyncio.get_running_loop().time, shedding=variant.shedding)
    for name in names(scenario.faults):
        fleet.add(name)
    rules = variant.rules
    clients = [
        Client(fleet, number, rules, resilient=variant.retries, repeatable=variant.repeatable)
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.rate = WARM * CAPACITY * INSTANCES / CLIENTS
        client.destination.update(fleet.sighting())
        client.start()
    await asyncio.sleep(WARM_UP)
    fleet.attempts = 0
    courses = befall(fleet, scenario.faults)
    for client in clients:
        client.rate = scenario.load * CAPACITY * INSTANCES / CLIENTS
        client.destination.update(fleet.sighting())
    await asyncio.sleep(seconds)
    for client in clients:
        await client.stop()
    for course in courses:
        course.cancel()
    fleet.close()
    return Run(fleet.samples, fleet.attempts, seconds)
