"""The turn of one client: load for some time, or one stream, and what came of it. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import quantiles
from threading import Barrier
from typing import Any

from benchmarks.comparison.peer import Call
from benchmarks.load import Slice


@dataclass
class Turn:
    """What came of one turn. Times in seconds.

    Attributes:
        seconds: from the first call to the end of the last.
        calls: how many there were; of a stream, how many items.
        p50: the median of the calls; of a stream, the time per item.
        p99: as p50.
        client: CPU of the client process.
        server: CPU of the server process, and of those that it started.
    """

    seconds: float
    calls: int
    p50: float
    p99: float
    client: float
    server: float = 0.0

    @property
    def per_call(self) -> float:
        """Seconds per call: with N callers, the N-th part of what one waits."""
        return self.seconds / self.calls

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds

    @property
    def cpu(self) -> float:
        """CPU seconds of both sides per call."""
        return (self.client + self.server) / self.calls


def summary(of: Slice) -> Turn:
    """The turn in few numbers: a turn may have a hundred thousand calls."""
    p99 = quantiles(of.times, n=100, method="inclusive")[98] if len(of.times) > 1 else of.times[0]
    return Turn(of.seconds, len(of.times), of.p50, p99, of.client)


def load_threads(call: Callable[[], Any], pool: ThreadPoolExecutor, callers: int, seconds: float) -> Turn:
    """Keep so many threads busy for some time."""
    clock = time.perf_counter
    start = Barrier(callers)
    cpu = time.process_time()
    begin = clock()

    def work() -> list[float]:
        start.wait()
        times: list[float] = []
        after = clock()
        end = after + seconds
        while True:
            before = after
            call()
            after = clock()
            times.append(after - before)
            if after >= end:
                return times

    futures = [pool.submit(work) for _ in range(callers)]
    found = [future.result() for future in futures]
    return summary(Slice(clock() - begin, [each for times in found for each in times], time.process_time() - cpu))


async def load_stream(call: Call, items: int) -> Turn:
    """Read one stream to its end."""
    cpu = time.process_time()
    begin = time.perf_counter()
    count, _ = await call.call(items)
    seconds = time.perf_counter() - begin
    if count != items:
        raise AssertionError(f"{items} items were asked for, {count} came")
    return Turn(seconds, items, seconds / items, seconds / items, time.process_time() - cpu)
