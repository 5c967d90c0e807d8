"""Measures aspyx's own client against `server.py`; prints one JSON line.

`client.py URL --mode {async,sync} --concurrency N --seconds S --channel NAME --loop {asyncio,uvloop}`: calls for so
long, by N coroutines of one loop or N threads, after a warm-up of each. Sync calls go to the blocking service, async
ones to the other.
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import NamedTuple

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


class Measured(NamedTuple):
    """What came of it: seconds by the clock, seconds of CPU, seconds of every call."""

    seconds: float
    client: float
    times: list[float]


def measure_sync(bench: SyncBench, concurrency: int, seconds: float) -> Measured:
    """Keep so many threads busy."""
    argument = tree()
    times: list[float] = []
    start = Barrier(concurrency + 1)

    def work() -> None:
        try:
            for _ in range(WARM_UP):
                assert bench.echo(argument) == argument
        except BaseException:
            start.abort()
            raise
        start.wait()
        before = time.perf_counter()
        end = before + seconds
        while before < end:
            bench.echo(argument)
            after = time.perf_counter()
            times.append(after - before)
            before = after

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(work) for _ in range(concurrency)]
        with contextlib.suppress(BrokenBarrierError):
            start.wait()
        cpu, began = time.process_time(), time.perf_counter()
        errors = [future.exception() for future in futures]
        measured = Measured(time.perf_counter() - began, time.process_time() - cpu, times)
    for error in errors:
        if error is not None and not isinstance(error, BrokenBarrierError):
            raise error
    return measured


async def measure_async(bench: AsyncBench, concurrency: int, seconds: float) -> Measured:
    """Keep so many coroutines busy."""
    argument = tree()
    times: list[float] = []

    async def warm_up() -> None:
        for _ in range(WARM_UP):
            assert await bench.echo(argument) == argument

    async def work() -> None:
        before = time.perf_counter()
        end = before + seconds
        while before < end:
            await bench.echo(argument)
            after = time.perf_counter()
            times.append(after - before)
            before = after

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(warm_up())
    cpu, began = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return Measured(time.perf_counter() - began, time.process_time() - cpu, times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="measures aspyx's own client")
    parser.add_argument("url")
    parser.add_argument("--mode", choices=("async", "sync"), default="async")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--channel", choices=CHANNELS, default="dispatch-msgpack")
    options = parser.parse_args()

    ClientModule.url = options.url.rstrip("/")
    manager = Environment(ClientModule).get(ServiceManager)
    assert manager.get_descriptor(BenchComponent) is not None
    if options.mode == "sync":
        sync_bench = manager.get_service(SyncBench, preferred_channel=options.channel)
        measured = measure_sync(sync_bench, options.concurrency, options.seconds)
    else:
        async_bench = manager.get_service(AsyncBench, preferred_channel=options.channel)
        with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
            measured = runner.run(measure_async(async_bench, options.concurrency, options.seconds))
    print(json.dumps({**measured._asdict(), "warm_up": WARM_UP * options.concurrency}))


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop; uvloop comes with aspyx's uvicorn on most systems."""
    return importlib.import_module("uvloop").new_event_loop if name == "uvloop" else None


if __name__ == "__main__":
    main()
