"""How fast a client learns through Consul who came and who went, on a real agent that the benchmark starts."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AsyncExitStack
from statistics import median

from benchmarks.aspyx.seed import version_of
from benchmarks.calls.wire import Plan
from benchmarks.consul.announced import CHANNEL, Client, announced, clock, running_client
from benchmarks.consul.aspyx import DEFAULT, HURRIED, seed_times
from benchmarks.consul.ends import SELDOM, ends, p99, times_row
from benchmarks.processes import ROOT, everywhere
from benchmarks.report import Goal, Report
from meshcore.core.instances import ChannelAddress, Instance
from meshcore.registry import ConsulComponentRegistry
from meshcore.registry.consul.api.client import ConsulClient
from meshcore.registry.consul.api.config import read_config
from meshcore.registry.consul.registrations import registration_of
from meshcore.testing import consul_agent
from tests.aspyx.environment import EnvironmentFailed, aspyx_python

AT_LEAST, OFTEN = 5, 4
"""Announcements are quick: so many, or so many times the rounds."""

ALWAYS = 2
"""Servers that stay."""

APART = (0.15, 0.25)
"""Seconds between two changes: a watch asks at most every 0.1 s, and this is about what it does when it is quiet."""


async def consul_section(plan: Plan, report: Report) -> None:
    """Servers that come and go, found through Consul. Everything runs on every core: nobody is busy."""
    with everywhere():
        async with AsyncExitStack() as stack:
            try:
                agent = await stack.enter_async_context(consul_agent(cache=ROOT / ".cache"))
            except (RuntimeError, OSError) as error:
                report.notes.append(f"left out: no Consul: {str(error).splitlines()[0]}")
                return
            async with AsyncExitStack() as ours:
                for _ in range(ALWAYS):
                    await ours.enter_async_context(announced(agent.url, plan.loop))
                client = await ours.enter_async_context(running_client(agent.url))
                await client.until(lambda: len(client.known()) == ALWAYS)
                start = await _starts(agent.url, client, plan, report)
                stop = await ends(agent.url, client, plan, report)
                report.goals.append(Goal("of all calls meanwhile failed", 0, len(client.attempts.failed)))
                report.notes.append(f"through Consul nobody is pinned; load of the machine: {os.getloadavg()[0]:.1f}")
            await _seed(agent.url, plan, report, start, stop)


async def _seed(consul: str, plan: Plan, report: Report, start: float, stop: float) -> None:
    """The same of aspyx-service, with as many of its own servers; times over ours."""
    pace, count = (DEFAULT, plan.rounds // SELDOM) if plan.rounds >= SELDOM else (HURRIED, 1)
    try:
        python = await asyncio.to_thread(aspyx_python, ROOT / ".cache")
        found = await seed_times(python, consul, count, pace)
    except (EnvironmentFailed, OSError) as error:
        report.notes.append(f"left out: no aspyx-service to compare with: {str(error).splitlines()[0]}")
        return
    report.versions["aspyx-service"] = version_of(python)
    report.rows += [
        times_row("aspyx: listens to listed", found.start),
        times_row("aspyx: stopped to no longer", found.stop),
    ]
    times = median(found.start) / start, median(found.stop) / stop
    report.notes.append(
        f"aspyx-service, looking every {pace.client:g} s, checked every {pace.check:g} s: "
        f"{times[0]:,.0f} times as long from the start, {times[1]:,.0f} times from the stop"
        + ("" if pace is DEFAULT else "; hurried, by default every 5 s and 10 s")
    )


async def _starts(consul: str, client: Client, plan: Plan, report: Report) -> float:
    """From the announcement of an instance to the first call on it; the median."""
    count = max(AT_LEAST, OFTEN * plan.rounds)
    bare: list[float] = []
    calls: list[float] = []
    async with (
        announced(consul, plan.loop, announce=False) as server,
        ConsulComponentRegistry(consul) as registry,
        ConsulClient(read_config(consul)) as raw,
    ):
        for number in range(count):
            await asyncio.sleep(random.uniform(*APART))
            bare.append(await _wake_up(raw, server.url, number))
            await asyncio.sleep(random.uniform(*APART))
            calls.append(await _first_call(registry, client, server.url, number))
        close = [await _first_call(registry, client, server.url, count + number) for number in range(count)]
    report.rows += [
        times_row("bare blocking query", bare),
        times_row("announce to first call", calls),
        times_row("the same, right after a change", close),
    ]
    own = p99(calls) - p99(bare)
    report.goals.append(Goal("ms: announced to first call, p99, above Consul's own wake-up", 50, own * 1e3))
    return median(calls)


async def _wake_up(raw: ConsulClient, url: str, number: int) -> float:
    """The same registration under another name, and the plainest way to learn of it."""
    registration = registration_of(Instance(f"bare-{number}", "bare", (ChannelAddress(CHANNEL, url),)))
    index = max(1, (await raw.health("bare")).index)
    query = asyncio.create_task(raw.health("bare", index=index, wait=10.0, timeout=20.0))
    await asyncio.sleep(0.02)  # it must be there before the change
    begun = clock()
    await raw.register(registration)
    found = await query
    took = clock() - begun
    assert any(each.service.id == registration.id for each in found.entries)
    await raw.deregister(registration.id)
    return took


async def _first_call(registry: ConsulComponentRegistry, client: Client, url: str, number: int) -> float:
    """Announce, wait for the first answer, withdraw."""
    client.attempts.forget()
    begun = clock()
    async with registry.announce(Instance(f"round-{number}", "bench", (ChannelAddress(CHANNEL, url),))):
        answered = await client.answered(url, begun)
    await client.until(lambda: url not in client.known())
    return answered - begun
