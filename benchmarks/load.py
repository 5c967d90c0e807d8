"""Load: calls one after the other, or by N callers at once, and what came of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

Calls = Callable[[], Awaitable[Any]]


@dataclass
class Slice:
    """Some time of load.

    Attributes:
        seconds: from the first call to the end of the last.
        times: seconds of each call.
        client: CPU seconds of the calling process, 0 if unknown.
        server: CPU seconds of the serving process, 0 if unknown.
    """

    seconds: float
    times: list[float] = field(repr=False)
    client: float = 0.0
    server: float = 0.0

    @property
    def per_call(self) -> float:
        """Seconds per call, by the clock on the wall: with N callers, the N-th part of what one waits."""
        return self.seconds / len(self.times)

    @property
    def p50(self) -> float:
        """The median of the calls."""
        return median(self.times)


async def load(call: Calls, callers: int, seconds: float) -> Slice:
    """Keep so many callers busy for some time. Calls that run at its end are waited for, and count.

    Each of them calls once at least, however late a busy machine lets it begin.
    """
    clock = time.perf_counter
    times: list[float] = []
    begin = clock()
    end = begin + seconds

    async def work() -> None:
        after = clock()
        while True:
            before = after
            await call()
            after = clock()
            times.append(after - before)
            if after >= end:
                break

    cpu = time.process_time()
    if callers == 1:
        await work()
    else:
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(work())
    return Slice(clock() - begin, times, client=time.process_time() - cpu)


@dataclass
class Figures:
    """The slices of one candidate under one load, in the order of the rounds."""

    slices: list[Slice] = field(default_factory=list)

    @property
    def p50(self) -> float:
        """The median of the rounds' medians, in seconds."""
        return median(each.p50 for each in self.slices)

    @property
    def p99(self) -> float:
        """Of all calls of all rounds, in seconds."""
        return quantiles((time for each in self.slices for time in each.times), n=100)[98]

    @property
    def rate(self) -> float:
        """Calls per second, the median of the rounds."""
        return 1 / median(each.per_call for each in self.slices)

    @property
    def client(self) -> float:
        """CPU seconds of the client per call."""
        return median(each.client / len(each.times) for each in self.slices)

    @property
    def server(self) -> float:
        """CPU seconds of the server per call."""
        return median(each.server / len(each.times) for each in self.slices)


def ratio(over: Iterable[Slice], under: Iterable[Slice], of: Callable[[Slice], float]) -> float:
    """The median of the rounds' ratios: what disturbs the machine for longer than a round disturbs both alike."""
    return median(of(above) / of(below) for above, below in zip(over, under, strict=True))
