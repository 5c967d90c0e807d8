"""The sections of the benchmark: each measures, and adds its rows, goals and notes to the report."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from statistics import median

from benchmarks.aspyx.seed import ASYNC, SYNC, NoSeedError, seed
from benchmarks.calls.local import INTERCEPTED, MEMORY, PLAIN, PROXY, measure_local, measure_memory
from benchmarks.calls.wire import HANDWRITTEN, MANY, WITHOUT, Plan, by_hand, by_mesh, measure, turn, without_data_plane
from benchmarks.load import Figures, Slice, ratio
from benchmarks.report import Goal, Report, Row, row
from benchmarks.served import ADDED

__all__ = ["Plan", "local_section", "seed_section", "wire_section"]

MSGPACK = "dispatch-msgpack"
LOCAL_ROUNDS, LOCAL_CALLS = 15, 10_000
MEMORY_ROUNDS, MEMORY_CALLS = 5, 1_000
LONGER = 4
"""A turn of aspyx's begins with the start of a process, and is so many times as long; there are fewer of them."""


def _p50(of: Slice) -> float:
    return of.p50


def _per_call(of: Slice) -> float:
    return of.per_call


def _cpu(of: Slice) -> float:
    return (of.client + of.server) / len(of.times)


async def local_section(plan: Plan, report: Report) -> None:  # noqa: ARG001 - it is over in a second anyway
    """A call inside the process."""
    found = await measure_local(LOCAL_ROUNDS, LOCAL_CALLS)
    found |= await measure_memory(MEMORY_ROUNDS, MEMORY_CALLS)
    report.rows += [Row("in one process", name, time * 1e6) for name, time in found.items()]
    added = (found[INTERCEPTED] - found[PROXY]) / ADDED
    report.goals += [
        Goal(
            "us: a local call through the proxy above the plain method call", 1.5, (found[PROXY] - found[PLAIN]) * 1e6
        ),
        Goal("us: an added interceptor", 0.25, added * 1e6),
        Goal("us: a call in memory: encoded, dispatched and decoded on both sides", 50.0, found[MEMORY] * 1e6),
    ]


async def wire_section(plan: Plan, report: Report) -> None:
    """A call between two processes."""
    async with AsyncExitStack() as stack:
        candidates = await stack.enter_async_context(by_hand(plan))
        candidates |= await stack.enter_async_context(by_mesh(plan, report.notes))
        candidates |= await stack.enter_async_context(without_data_plane(plan, report.notes))
        one, many = [await measure(candidates, callers, plan) for callers in (1, MANY)]
    for name in candidates:
        entry = row("between two processes", name, one[name], many[name])
        entry.one = ratio(one[name].slices, one[HANDWRITTEN].slices, _p50)
        entry.many = ratio(many[name].slices, many[HANDWRITTEN].slices, _per_call)
        entry.cpu = ratio(many[name].slices, many[HANDWRITTEN].slices, _cpu)
        report.rows.append(entry)
        if name == MSGPACK:
            report.goals += [
                Goal(f"{MSGPACK} to hand-written: time per call, one caller", 1.15, entry.one),
                Goal(f"{MSGPACK} to hand-written: time per call, {MANY} callers", 1.15, entry.many),
            ]
    if WITHOUT in candidates and MSGPACK in candidates:
        slices, bare = one[MSGPACK].slices, one[WITHOUT].slices
        added = median(above.p50 - below.p50 for above, below in zip(slices, bare, strict=True))
        times = ratio(many[MSGPACK].slices, many[WITHOUT].slices, _per_call)
        report.goals += [
            Goal("us: what the data plane adds to a call, one caller", 15.0, added * 1e6),
            Goal("with the data plane to without: time per call, one caller", 1.08, ratio(slices, bare, _p50)),
            Goal(f"with the data plane to without: time per call, {MANY} callers", 1.08, times),
        ]


async def seed_section(plan: Plan, report: Report) -> None:
    """The same next to aspyx-service."""
    async with AsyncExitStack() as stack:
        try:
            aspyx = stack.enter_context(seed())
        except NoSeedError as error:
            report.notes.append(f"left out: no aspyx-service to compare with: {str(error).splitlines()[0]}")
            return
        report.versions["aspyx-service"] = aspyx.version
        here = await stack.enter_async_context(by_mesh(plan, report.notes, (MSGPACK,)))
        here |= await stack.enter_async_context(by_hand(plan))  # what no mesh over the same libraries can surpass
        names = (ASYNC, SYNC, MSGPACK, HANDWRITTEN)
        figures = {(name, callers): Figures() for name in names for callers in (1, MANY)}
        for _ in range(max(1, plan.rounds // LONGER)):
            for (name, callers), entry in figures.items():
                run = partial(aspyx.turn, name, callers, LONGER * plan.seconds, plan.loop)
                entry.slices.append(
                    await turn(here[name], callers, plan.seconds) if name in here else await asyncio.to_thread(run)
                )
    for name in names:
        report.rows.append(row("next to aspyx-service, dispatch-msgpack", name, figures[name, 1], figures[name, MANY]))
    mine, best = figures[MSGPACK, MANY], min((ASYNC, SYNC), key=lambda name: figures[name, 1].p50)
    for name, limit in ((ASYNC, 10.0), (SYNC, 3.5)):
        faster = ratio(figures[name, MANY].slices, mine.slices, _per_call)
        report.goals.append(Goal(f"calls/s to {name}, {MANY} callers", limit, faster, at_least=True))
    p50 = ratio(figures[MSGPACK, 1].slices, figures[best, 1].slices, _p50)
    report.goals.append(Goal(f"p50 to the best of aspyx's ({best}), one caller", 0.65, p50))
