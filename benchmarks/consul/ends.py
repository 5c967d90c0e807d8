"""What becomes of calls, and of what a client knows, when a server found through Consul is stopped or killed."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median, quantiles

from benchmarks.calls.wire import Plan
from benchmarks.consul.announced import CALLERS, Beside, Client, announced, clock
from benchmarks.report import Goal, Report, Row

SECTION = "through Consul"
SELDOM = 6
"""A process ends once in so many rounds: that takes seconds."""

SETTLED = 5
"""Calls after which a server is in use."""

LATER = 0.3
"""Seconds after the end of a server in which nothing may happen to it any more."""


@dataclass
class Ends:
    """What ends of server processes came to, in seconds and by round.

    Attributes:
        unknown: until the client's selectors no longer had it.
        refused: until the first attempt on it had failed.
        last: until the last attempt on it began.
        attempts: how many began after the end.
        later: how many of them began after the first failure was known.
        failed: calls, of all rounds.
        calls: that were made meanwhile.
    """

    unknown: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    later: list[int] = field(default_factory=list)
    failed: int = 0
    calls: int = 0


async def ends(consul: str, client: Client, plan: Plan, report: Report) -> float:
    """Processes that are stopped, and that are killed; the median until the client does not know a stopped one."""
    count = max(1, plan.rounds // SELDOM)
    ready: list[float] = []
    stopped, killed = Ends(), Ends()
    beside = Beside()
    watch = asyncio.create_task(beside.watch(consul, "bench"))
    for _ in range(count):
        for found, number in ((stopped, signal.SIGTERM), (killed, signal.SIGKILL)):
            begun = clock()
            async with announced(consul, plan.loop) as server:
                ready.append(await client.answered(server.url, begun) - beside.seen[server.url])
                await _end(client, server.pid, server.url, number, found)
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch
    report.rows += [
        times_row("process listed to first call", ready),
        times_row("stop to gone from the client", stopped.unknown),
        *([times_row("kill to first failed attempt", killed.refused)] if killed.refused else []),
        times_row("kill to last attempt on it", killed.last),
        times_row("kill to gone from the client", killed.unknown),
    ]
    report.notes.append(
        f"{count} servers stopped, {count} killed: {stopped.failed} of {stopped.calls} and {killed.failed} of "
        f"{killed.calls} calls failed; attempts on a killed one: {median(killed.attempts):g} in the median, "
        f"{max(killed.attempts)} at most, by {CALLERS} callers; it is asked again now and then until Consul forgets it"
    )
    report.goals += [
        Goal("of the calls around clean stops failed", 0, stopped.failed),
        Goal("of the calls around kills failed", 0, killed.failed),
        Goal("% of the calls asked a killed instance after one had failed", 1, 100 * sum(killed.later) / killed.calls),
    ]
    return median(stopped.unknown)


async def _end(client: Client, pid: int, url: str, number: signal.Signals, found: Ends) -> None:
    """Send the signal while calls go on, and see what becomes of them."""
    client.attempts.forget()
    since = clock()
    await client.until(lambda: len(client.attempts.to(url, since)) > SETTLED)
    calls, failed = client.attempts.calls, len(client.attempts.failed)
    begun = clock()
    os.kill(pid, number)
    found.unknown.append(await client.until(lambda: url not in client.known()) - begun)
    await asyncio.sleep(LATER)
    sent = client.attempts.to(url, begun)
    wrong = [each for each in client.attempts.to(url, since) if each.error]
    if wrong:
        first = min(each.ended for each in wrong)
        found.refused.append(first - begun)
        found.later.append(len([each for each in sent if each.begun > first]))
    found.attempts.append(len(sent))
    found.last.append(max((each.begun for each in sent), default=begun) - begun)
    found.calls += client.attempts.calls - calls
    found.failed += len(client.attempts.failed) - failed


def times_row(name: str, times: list[float]) -> Row:
    """Of seconds."""
    return Row(SECTION, name, median(times) * 1e6, p99(times) * 1e6)


def p99(times: list[float]) -> float:
    """As far as there are enough of them."""
    return quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]
