"""Streams that break go on behind their last item, where the interface says how: none is lost, none comes twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import pytest

from meshcore import (
    Code,
    CommunicationError,
    Interceptors,
    Mesh,
    MeshApp,
    MeshError,
    Policy,
    Settings,
    create,
    module,
    with_policy,
)
from meshcore.testing import Fault, Faults, memory_mesh, run_virtually
from meshcore.testing.loopback import Loopback, LoopbackAdvice
from tests.integration.mesh.streams import journal
from tests.integration.mesh.streams.feeds import outcome
from tests.integration.mesh.streams.journal import Journal, JournalComponent, JournalModule, Pages

CHANNELS = pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "stream-msgpack", "rest"])


@pytest.fixture
def pages() -> Pages:
    """What the servers of this test read."""
    journal.pages = Pages()
    return journal.pages


async def until(condition: Callable[[], object]) -> None:
    """Wait for a state."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


class Fleet:
    """Servers in memory that are started and stopped one by one, each in a task of its own."""

    def __init__(self, loopback: Loopback) -> None:
        self._loopback = loopback
        self._running: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def start(self, url: str) -> None:
        ready, stop = asyncio.Event(), asyncio.Event()

        async def serve() -> None:
            settings = Settings(registry="local:", advertise_url=url, drain=0.05, verify_advertise=False)
            app = MeshApp(JournalModule, settings=settings)
            async with app.running():
                self._loopback.serve(url, app)
                ready.set()
                await stop.wait()
                await app.stop()
                self._loopback.refuse(url)

        self._running[url] = asyncio.create_task(serve()), stop
        await ready.wait()

    async def stop(self, url: str) -> None:
        task, stop = self._running.pop(url)
        stop.set()
        await task

    async def aclose(self) -> None:
        for url in tuple(self._running):
            await self.stop(url)


@asynccontextmanager
async def fleet(channel: str, count: int) -> AsyncGenerator[tuple[Fleet, list[str], Mesh]]:
    """Servers, their URLs, and the mesh of a client."""
    loopback = Loopback()
    urls = [f"http://journal-{number}.memory" for number in range(count)]

    @module(components=[JournalComponent], provides=[LoopbackAdvice])
    class Calling:
        @create()
        def loopback(self) -> Loopback:
            return loopback

    servers = Fleet(loopback)
    try:
        for url in urls:
            await servers.start(url)
        registry = "static:journal-component=" + ",".join(f"{channel}({url})" for url in urls)
        async with Mesh(Calling, settings=Settings(registry=registry)) as mesh:
            yield servers, urls, mesh
    finally:
        await servers.aclose()
        await loopback.aclose()


@CHANNELS
def test_a_rolling_restart_loses_and_doubles_nothing(channel: str, pages: Pages) -> None:
    """With 20 readers, three servers that are restarted in turn, and entries that come all the time."""

    async def scenario() -> None:
        async with fleet(channel, 3) as (servers, urls, mesh):
            service = await mesh.get_service(Journal)
            got: list[list[int]] = [[] for _ in range(20)]

            async def follow(numbers: list[int]) -> None:
                async for entry in service.follow():
                    assert entry.text == f"entry {entry.number}"
                    numbers.append(entry.number)
                    if entry.number == 1000:
                        break

            async def write() -> None:
                while True:
                    pages.write()
                    await asyncio.sleep(0.02)

            readers = [asyncio.create_task(follow(numbers)) for numbers in got]
            pages.write()
            await until(lambda: all(got))
            writer = asyncio.create_task(write())
            for url in urls:
                await servers.stop(url)
                await servers.start(url)
            assert len(pages.calls) > 20
            writer.cancel()
            while pages.count < 1000:
                pages.write()
            await asyncio.wait_for(asyncio.gather(*readers), 20)
            assert all(numbers == list(range(1, 1001)) for numbers in got)
            await until(lambda: pages.ended == len(pages.calls))

    run_virtually(scenario())


@CHANNELS
async def test_a_stream_that_breaks_goes_on_behind_its_last_item(channel: str, pages: Pages) -> None:
    """Whether it was the connection, the answer or the implementation."""
    faults = Faults(items=3)
    async with memory_mesh(JournalModule, faults=faults, channel=channel, instances=2) as mesh:
        journal_ = await mesh.get_service(Journal)
        if channel != "rest":
            assert [number async for number in journal_.flaky()] == list(range(1, 11))
            assert pages.calls == [0, 3, 6, 9]
            pages.calls.clear()
        pages.count = 10
        faults.then(Fault.DROP, Fault.REFUSE, Fault.DROP, Fault.ERROR, Fault.DROP)
        stream = journal_.follow(after=1)
        assert [(await anext(stream)).number for _ in range(9)] == list(range(2, 11))
        assert pages.calls == [1, 4, 7]


@pytest.mark.parametrize("local", [True, False])
async def test_the_key_may_be_the_item_itself(local: bool, pages: Pages) -> None:  # noqa: FBT001
    """Also within a process, where the implementation may say that it cannot go on."""
    context = Mesh(JournalModule, settings=Settings(registry="local:")) if local else memory_mesh(JournalModule)
    async with context as mesh:
        service = await mesh.get_service(Journal)
        assert [number async for number in service.flaky(after=2)] == list(range(3, 11))
        assert pages.calls == [2, 5, 8]


def test_there_are_so_many_attempts_without_an_item(pages: Pages) -> None:
    """With pauses that grow. Then the caller gets the error that came last."""

    async def scenario() -> None:
        async with memory_mesh(JournalModule) as mesh:
            service = await mesh.get_service(Journal)
            begun = time.monotonic()
            got, error = await outcome(with_policy(service, Policy(resumes=6, attempts=1)).never())
            assert got == [1, 2]
            assert isinstance(error, MeshError)
            assert (error.code, error.message) == (Code.UNAVAILABLE, "come back")
            assert pages.calls == [0, *[2] * 6]
            assert time.monotonic() - begun > 0.1
            pages.calls.clear()
            got, error = await outcome(with_policy(service, Policy(resumes=0, attempts=1)).never())
            assert (got, pages.calls) == ([1, 2], [0])

    run_virtually(scenario())


def test_the_deadline_and_the_idle_bound_are_those_of_the_whole_stream(pages: Pages) -> None:
    """However often it was resumed."""

    async def scenario() -> None:
        faults = Faults(items=1)
        async with memory_mesh(JournalModule, faults=faults) as mesh:
            service = await mesh.get_service(Journal)
            faults.drop = 1.0
            for policy, most in ((Policy(timeout=3.0), 3.1), (Policy(idle=2.0, resumes=1000, timeout=inf), 2.1)):
                begun = time.monotonic()
                got, error = await outcome(with_policy(service, policy).never())
                assert got == [1]
                assert isinstance(error, MeshError)
                assert time.monotonic() - begun <= most, error

    run_virtually(scenario())


async def test_a_first_call_that_cannot_be_sent_fails_at_once(pages: Pages) -> None:
    """There is nothing to resume yet."""
    registry = "static:journal-component=dispatch-json(http://127.0.0.1:9)"

    @module(components=[JournalComponent])
    class Calling: ...

    async with Mesh(Calling, settings=Settings(registry=registry)) as mesh:
        begun = time.monotonic()
        _, error = await outcome((await mesh.get_service(Journal)).follow())
        assert isinstance(error, CommunicationError)
        assert time.monotonic() - begun < 5
        assert not pages.calls


async def test_leaving_while_it_waits_to_go_on_ends_it(pages: Pages) -> None:
    """As at any other time."""
    faults = Faults(items=1)
    async with memory_mesh(JournalModule, faults=faults) as mesh:
        service = await mesh.get_service(Journal)
        pages.count = 5
        stream = service.follow()
        faults.then(Fault.DROP, *[Fault.REFUSE] * 100)
        assert (await anext(stream)).number == 1
        await until(lambda: Fault.REFUSE in faults.happened)
        del stream
        await asyncio.sleep(0.1)
        tried = len(faults.happened)
        await asyncio.sleep(0.3)
        assert len(faults.happened) == tried
        assert pages.ended == 1


async def test_interceptors_stand_around_each_part(pages: Pages) -> None:
    """So that a token is the one of that time."""
    calls: list[tuple[Any, ...]] = []

    async def note(handler: Any, call: Any) -> Any:
        calls.append(call.arguments)
        return await handler(call)

    @module()
    class Client:
        @create()
        def interceptors(self) -> Interceptors:
            return Interceptors(client=[note])

    async with memory_mesh(JournalModule, client=Client) as mesh:
        assert len([item async for item in (await mesh.get_service(Journal)).flaky()]) == 10
        assert calls == [(0,), (3,), (6,), (9,)]
        assert pages.calls == [0, 3, 6, 9]
