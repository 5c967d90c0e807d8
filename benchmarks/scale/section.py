"""The section `stream-scale`: much of everything on the stream channel, and what that takes of both processes."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median

import msgspec

from benchmarks import processes
from benchmarks.calls.wire import MANY, Plan, by_mesh, measure
from benchmarks.load import Slice, ratio
from benchmarks.processes import CLIENT, ROOT, free_port, hypercorn, pin
from benchmarks.report import Goal, Report, Row, row
from benchmarks.scale.memory import peak, resident
from meshcore.wire.endpoints import READYZ

KIB, MIB = 1024, 2**20
CHANNEL = "stream-msgpack"
SECTION = "stream-msgpack at scale"
FLIGHT, IDLE, ITEMS, LARGE = 10_000, 1_000, 1_000_000, 50 * MIB
WITHOUT = f"{CHANNEL}, data plane off"
NO_LIMIT = {"adaptive_limit": "false"}
OFF = {"resilience": "false", **NO_LIMIT}


class Client:
    """The process that calls."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def hear(self) -> dict[str, float]:
        """The next line that it prints."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the client has ended without figures")
        return msgspec.json.decode(line, type=dict[str, float])

    def go_on(self) -> None:
        """Let it go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")


@asynccontextmanager
async def both(
    loop: str, name: str, *numbers: float, **options: str
) -> AsyncGenerator[tuple[processes.Process, Client], None]:
    """A new server, and a new client that measures a row of `client`."""
    port = free_port()
    env = {
        "MESHCORE_MODULE": "benchmarks.scale.served:ScaleModule",
        "MESHCORE_ADVERTISE_URL": f"http://127.0.0.1:{port}",
        "MESHCORE_REGISTRY": "local:",
        **{f"MESHCORE_{name.upper()}": value for name, value in options.items()},
    }
    with hypercorn("meshcore.app:app", loop, env, port, READYZ) as server:
        command = (sys.executable, "-m", "benchmarks.scale.client", name, server.url, loop, *map(str, numbers))
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)
        pin(process.pid, CLIENT)
        try:
            yield server, Client(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def flight(report: Report, loop: str, callers: int, seconds: float, lasting: float) -> None:
    """Many calls in flight on one connection.

    Those that last are made with all that is on by default. Those that end at once keep both processes busy all the
    time, which is what the adaptive limit refuses calls for: it is off.
    """
    options = {"max_concurrency": str(callers)} if lasting else {"max_concurrency": str(callers), **NO_LIMIT}
    async with both(loop, "flight", callers, seconds, lasting, **options) as (server, client):
        found = await client.hear()
        memory = peak(server.pid)
    text = f"{callers:,} calls in flight" + (f", of {lasting:g} s each" if lasting else ", as fast as they can")
    report.rows.append(Row(SECTION, text, found["p50"] * 1e6, p99=found["p99"] * 1e6, rate=found["rate"]))
    report.goals += [
        Goal(f"failed: {text}", 0, found["failed"]),
        Goal(f"MiB at most in the client: {text}", 100, found["peak"] / MIB),
        Goal(f"MiB at most in the server: {text}", 100, memory / MIB),
        Goal(f"p99 to the fair share: {text}", 3, found["p99"] / found["fair"]),
    ]
    report.notes.append(f"{text}: {found['added'] / MIB:.0f} MiB of the client's came with them")


async def idle(report: Report, loop: str, number: int) -> None:
    """Many connections that do nothing."""
    async with both(loop, "idle", number) as (server, client):
        await client.hear()
        before = resident(server.pid)
        client.go_on()
        await client.hear()
        await asyncio.sleep(1)
        each = (resident(server.pid) - before) / number
        client.go_on()
        found = await client.hear()
    report.goals += [
        Goal(f"KiB of the server for each of {number:,} idle connections", 30, each / KIB),
        Goal(f"KiB of the client for each of {number:,} idle connections", 30, found["each"] / KIB),
    ]


async def items(report: Report, loop: str, number: int) -> None:
    """A reader that is slower than its writer."""
    async with both(loop, "items", number, request_timeout="inf") as (server, client):
        heard = asyncio.ensure_future(client.hear())
        samples: list[int] = []
        while not heard.done():
            samples.append(resident(server.pid))
            await asyncio.wait([heard], timeout=0.1)
        found = await heard
    half = len(samples) // 2
    grown = max(samples[half:]) / max(samples[:half])
    text = f"{number:,} items to a slow reader"
    report.goals += [
        Goal(f"memory of the second half to the first, client: {text}", 1.05, found["second"] / found["first"]),
        Goal(f"memory of the second half to the first, server: {text}", 1.05, grown),
    ]
    report.notes.append(
        f"{text}: {found['items'] / found['seconds']:,.0f} items/s, of 100,000 that the reader lets pass at most; "
        f"{found['second'] / MIB:.0f} MiB in the client, {max(samples) / MIB:.0f} in the server"
    )


async def large(report: Report, loop: str, size: int, seconds: float) -> None:
    """Small calls beside a large answer."""
    most = str(size + MIB)
    async with both(loop, "large", size, seconds, max_body=most) as (_, client):
        found = await client.hear()
    for name in ("alone", "beside"):
        text = "small calls alone" if name == "alone" else f"small calls beside answers of {size // MIB} MiB"
        report.rows.append(Row(SECTION, text, found[f"{name} p50"] * 1e6, p99=found[f"{name} p99"] * 1e6))
    report.notes.append(f"{found['answers']:.0f} answers of {size // MIB} MiB beside {found['calls']:.0f} small calls")


async def data_plane(report: Report, plan: Plan) -> None:
    """What all that is on by default costs."""
    async with AsyncExitStack() as stack:
        candidates = await stack.enter_async_context(by_mesh(plan, report.notes, (CHANNEL,)))
        off = await stack.enter_async_context(by_mesh(plan, report.notes, (CHANNEL,), OFF))
        candidates[WITHOUT] = off[CHANNEL]
        one, many = [await measure(candidates, callers, plan) for callers in (1, MANY)]
    report.rows += [row(SECTION, name, one[name], many[name]) for name in candidates]

    def p50(of: Slice) -> float:
        return of.p50

    def per_call(of: Slice) -> float:
        return of.per_call

    def cpu(of: Slice) -> float:
        return (of.client + of.server) / len(of.times)

    above, below = one[CHANNEL].slices, one[WITHOUT].slices
    added = median(on.p50 - bare.p50 for on, bare in zip(above, below, strict=True))
    report.goals += [
        Goal("with the data plane to without: p50, one caller", 1.08, ratio(above, below, p50)),
        Goal(
            f"with the data plane to without: time per call, {MANY} callers",
            1.08,
            ratio(many[CHANNEL].slices, many[WITHOUT].slices, per_call),
        ),
    ]
    cpu_ratio = ratio(many[CHANNEL].slices, many[WITHOUT].slices, cpu)
    report.notes.append(
        f"the data plane adds {added * 1e6:.1f} us to a call of one caller, "
        f"and takes {cpu_ratio:.3f} times the CPU of both sides with {MANY}"
    )


async def scale_section(plan: Plan, report: Report) -> None:
    """Much of everything."""
    part = 10 if plan.quick else 1
    await flight(report, plan.loop, FLIGHT // part, 20.0 / part, 10.0 / part)
    await flight(report, plan.loop, FLIGHT // part, 10.0 / part, 0)
    await idle(report, plan.loop, IDLE // part)
    await items(report, plan.loop, ITEMS // part)
    await large(report, plan.loop, LARGE // part, 20.0 / part)
    await data_plane(report, plan)
