"""The process that calls: `python -m benchmarks.scale.client ROW URL LOOP NUMBER ...`. It prints one line of JSON."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from array import array
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from math import inf
from statistics import median, quantiles
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from benchmarks.contract import bundle
from benchmarks.load import load
from benchmarks.processes import loop_factory
from benchmarks.scale.contract import Scale, ScaleClient
from benchmarks.scale.memory import peak, resident
from meshcore import Mesh, Policy, load_settings, with_policy
from meshcore.channels.stream_connection import StreamConnection
from meshcore.channels.websocket import dial
from meshcore.wire.endpoints import STREAM
from meshcore.wire.stream.limits import Limits

CHANNEL = "stream-msgpack"
LONGEST = 300.0
"""Seconds that a call may take."""

AT_ONCE = 50
"""Connections that are made at the same time."""

EACH = 100
PAUSE = 0.001
"""The slow reader takes so many seconds for each of so many items."""


def p99(times: Sequence[float]) -> float:
    """The 99th percentile."""
    return quantiles(times, n=100, method="inclusive")[98]


@asynccontextmanager
async def calling(url: str, **policy: Any) -> AsyncGenerator[Scale, None]:
    """The proxy of the server at that URL, which has been called once."""
    settings = load_settings(
        {
            "registry": f"static:scale={CHANNEL}({url})",
            "max_body": 64 * 2**20,
            "policies": {"scale": Policy(timeout=LONGEST, **policy)},
        }
    )
    async with Mesh(ScaleClient, settings=settings) as mesh:
        service = await mesh.get_service(Scale, CHANNEL)
        await service.echo(bundle())
        yield service


async def flight(url: str, callers: int, seconds: float, lasting: float) -> dict[str, float]:
    """So many callers, each with one call in flight all the time, on one connection.

    Args:
        url: of the server.
        callers: how many.
        seconds: for which they call.
        lasting: seconds that each call waits in its implementation. 0: it answers at once, so one process is busy.
    """
    item, failed, clock = bundle(), 0, time.perf_counter
    times = array("d")
    async with calling(url, concurrency=callers, attempts=1) as service:
        before, begin = resident(), clock()
        end = begin + seconds

        async def work(number: int) -> None:
            nonlocal failed
            await asyncio.sleep(lasting * number / callers)
            after = clock()
            while after < end:
                began = after
                try:
                    await (service.wait(item, lasting) if lasting else service.echo(item))
                except Exception as error:  # noqa: BLE001 - it is counted, and the first one shown
                    if not failed:
                        print(error, file=sys.stderr)
                    failed += 1
                after = clock()
                times.append(after - began)

        # The tasks are those of the callers themselves: with load() each call would be two coroutines deep.
        await asyncio.gather(*(work(number) for number in range(callers)))
        took, most = clock() - begin, peak()
    return {
        "failed": failed,
        "rate": len(times) / took,
        "p50": median(times),
        "p99": p99(times),
        "fair": took * callers / len(times),
        "added": most - before,
        "peak": most,
    }


async def idle(url: str, number: int) -> dict[str, float]:
    """So many connections that do nothing. It ends when its input does."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        target, gate = URL(url + STREAM), asyncio.Semaphore(AT_ONCE)

        async def connect() -> StreamConnection:
            async with gate:
                connection = StreamConnection(await dial(session, target, {}), Limits())
                await connection.ready()
                return connection

        first = [await connect() for _ in range(AT_ONCE)]
        print(msgspec.json.encode({"connections": len(first)}).decode(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        gc.collect()
        before = resident()
        rest = await asyncio.gather(*(connect() for _ in range(number)))
        gc.collect()
        each = (resident() - before) / number
        print(msgspec.json.encode({"connections": len(first) + len(rest)}).decode(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        usable = sum(connection.usable for connection in (*first, *rest))
        for connection in (*first, *rest):
            await connection.aclose()
    return {"each": each, "usable": usable}


async def items(url: str, number: int) -> dict[str, float]:
    """So many items to a reader that takes 1 ms for each hundredth. Memory is that of the second half to the first."""
    began, halves, at = time.monotonic(), [0.0, 0.0], 0
    async with calling(url) as service:
        async for each in with_policy(service, Policy(timeout=inf, idle=60.0)).count(number):
            assert each == at
            at += 1
            if not at % EACH:
                await asyncio.sleep(PAUSE)
            if not at % 1000:
                half = at * 2 > number
                halves[half] = max(halves[half], resident())
    return {"first": halves[0], "second": halves[1], "seconds": time.monotonic() - began, "items": at}


async def large(url: str, size: int, seconds: float) -> dict[str, float]:
    """Small calls one after the other, alone and beside large answers, in turns."""
    item = bundle()
    alone: list[float] = []
    beside: list[float] = []
    answers = 0
    async with calling(url) as service:

        async def pull() -> None:
            nonlocal answers
            while True:
                assert len(await service.large(size)) == size
                answers += 1

        await service.large(size)
        for _ in range(4):
            alone += (await load(lambda: service.echo(item), 1, seconds / 8)).times
            pulling = asyncio.ensure_future(pull())
            beside += (await load(lambda: service.echo(item), 1, seconds / 8)).times
            pulling.cancel()
            await asyncio.wait([pulling])
    return {
        "alone p50": quantiles(alone, n=2)[0],
        "alone p99": p99(alone),
        "beside p50": quantiles(beside, n=2)[0],
        "beside p99": p99(beside),
        "calls": len(beside),
        "answers": answers,
    }


ROWS: dict[str, Callable[..., Coroutine[Any, Any, dict[str, float]]]] = {
    "flight": flight,
    "idle": idle,
    "items": items,
    "large": large,
}


def main() -> None:
    """Do what the command line says."""
    row, url, loop, *numbers = sys.argv[1:]
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        found = runner.run(ROWS[row](url, *(float(each) if "." in each else int(each) for each in numbers)))
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
