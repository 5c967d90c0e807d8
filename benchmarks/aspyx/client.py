"""Measures aspyx's own client against `server.py`; prints one JSON line.

`client.py URL --mode {async,sync} --concurrency N --calls N --channel NAME`: so many calls in all, by N coroutines of
one loop or N threads, after a warm-up of each. Sync calls go to the blocking service, async ones to the other.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from threading import Barrier, BrokenBarrierError
from typing import Any

from aspyx.di import Environment, create, module
from aspyx_service import (
    Channel,
    ChannelAddress,
    ChannelInstances,
    Component,
    ComponentDescriptor,
    ComponentRegistry,
    ServiceManager,
    ServiceModule,
    SessionManager,
)
from contract import AsyncBench, BenchComponent, SyncBench, tree

CHANNELS = ("dispatch-json", "dispatch-msgpack", "rest")
WARM_UP = 5


class StaticRegistry(ComponentRegistry):
    """Knows one URL for every channel."""

    def __init__(self, url: str) -> None:
        self.url = url

    def register(self, descriptor: ComponentDescriptor[Component], addresses: list[ChannelAddress]) -> None:
        """Nothing to announce."""

    def deregister(self, descriptor: ComponentDescriptor[Component]) -> None:
        """Nothing to withdraw."""

    def watch(self, channel: Channel) -> None:
        """Nothing changes."""

    def get_addresses(self, descriptor: ComponentDescriptor[Component]) -> list[ChannelInstances]:
        """The one URL."""
        return [ChannelInstances(descriptor.name, channel, [self.url]) for channel in CHANNELS]


@module(imports=[ServiceModule])
class ClientModule:
    """What aspyx needs for a client."""

    url = ""

    @create()
    def create_registry(self) -> ComponentRegistry:
        """No Consul."""
        return StaticRegistry(self.url)

    @create()
    def create_session_storage(self) -> SessionManager.Storage:
        """Aspyx wants one, used or not."""
        return SessionManager.InMemoryStorage(max_size=10, ttl=60)


def measure_sync(bench: SyncBench, concurrency: int, calls: int) -> tuple[float, list[int]]:
    """Seconds, and the nanoseconds of every call, with `concurrency` threads."""
    argument = tree()
    tickets = itertools.count()
    times: list[int] = []
    start = Barrier(concurrency + 1)

    def work() -> None:
        try:
            for _ in range(WARM_UP):
                assert bench.echo(argument) == argument
        except BaseException:
            start.abort()
            raise
        start.wait()
        while next(tickets) < calls:
            began = time.perf_counter_ns()
            bench.echo(argument)
            times.append(time.perf_counter_ns() - began)

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(work) for _ in range(concurrency)]
        with contextlib.suppress(BrokenBarrierError):
            start.wait()
        began = time.perf_counter()
        errors = [future.exception() for future in futures]
        seconds = time.perf_counter() - began
    for error in errors:
        if error is not None and not isinstance(error, BrokenBarrierError):
            raise error
    return seconds, times


async def measure_async(bench: AsyncBench, concurrency: int, calls: int) -> tuple[float, list[int]]:
    """Seconds, and the nanoseconds of every call, with `concurrency` coroutines."""
    argument = tree()
    tickets = itertools.count()
    times: list[int] = []

    async def warm_up() -> None:
        for _ in range(WARM_UP):
            assert await bench.echo(argument) == argument

    async def work() -> None:
        while next(tickets) < calls:
            began = time.perf_counter_ns()
            await bench.echo(argument)
            times.append(time.perf_counter_ns() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(warm_up())
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return time.perf_counter() - began, times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="measures aspyx's own client")
    parser.add_argument("url")
    parser.add_argument("--mode", choices=("async", "sync"), default="async")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--channel", choices=CHANNELS, default="dispatch-msgpack")
    options = parser.parse_args()

    ClientModule.url = options.url.rstrip("/")
    manager = Environment(ClientModule).get(ServiceManager)
    assert manager.get_descriptor(BenchComponent) is not None
    if options.mode == "sync":
        sync_bench = manager.get_service(SyncBench, preferred_channel=options.channel)
        seconds, times = measure_sync(sync_bench, options.concurrency, options.calls)
    else:
        async_bench = manager.get_service(AsyncBench, preferred_channel=options.channel)
        seconds, times = asyncio.run(measure_async(async_bench, options.concurrency, options.calls))
    cuts = quantiles(times, n=100)
    line: dict[str, Any] = {"calls": len(times), "seconds": round(seconds, 6)}
    line |= {"p50_us": round(cuts[49] / 1000, 1), "p99_us": round(cuts[98] / 1000, 1)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
