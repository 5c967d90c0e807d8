"""Worker threads: each call gets one however they wait for each other, or is refused in time."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore import Call, Code, LocalError, Service, service
from meshcore.client.bridge import Bridge
from meshcore.core.call import ambient_deadline
from meshcore.core.context.threads import detached
from meshcore.declare.reader import describe_service
from meshcore.server.refusals import CancelledBeforeItBegan, NotBegunError
from meshcore.server.worker_threads import WorkerThreads


@service()
class Walker(Service):
    """Calls itself for each branch, blocking."""

    @abstractmethod
    def walk(self, tree: list[Any]) -> int: ...


(WALK,) = describe_service(Walker, []).methods

TREES = st.recursive(st.just([]), lambda children: st.lists(children, max_size=4), max_leaves=12)


class Process:
    """Calls within a process, without the rest of a mesh.

    Attributes:
        threads: of which there were calls.
    """

    def __init__(self, threads: int) -> None:
        self.workers = WorkerThreads(threads)
        self.bridge = Bridge(asyncio.get_running_loop())
        self.threads: set[int] = set()

    async def handle(self, call: Call) -> Any:
        """Run the implementation in a thread."""
        return await self.workers.run(self.implementation, *call.arguments)

    def implementation(self, tree: list[Any]) -> int:
        """Count the nodes of a tree, one call for each."""
        self.threads.add(threading.get_ident())
        return 1 + sum(self.call(branch) for branch in tree)

    def call(self, tree: list[Any]) -> int:
        """What the `def` proxy does."""
        count: int = self.bridge(self.handle, Call(WALK, (tree,)))
        return count


def count(tree: list[Any]) -> int:
    """The nodes of a tree."""
    return 1 + sum(map(count, tree))


def depth(tree: list[Any]) -> int:
    """The levels of a tree."""
    return 1 + max(map(depth, tree), default=0)


@settings(max_examples=50)
@given(st.lists(TREES, min_size=1, max_size=6), st.integers(1, 3))
def test_calls_that_wait_for_each_other_come_to_an_end(trees: list[list[Any]], threads: int) -> None:
    """Any number of callers, whatever their calls call, with as few threads as there can be; and no more than said."""

    async def walk() -> tuple[list[int], int]:
        process = Process(threads)
        try:
            async with asyncio.timeout(30):
                calls = (process.handle(Call(WALK, (tree,))) for tree in trees)
                return await asyncio.gather(*calls), len(process.threads)
        finally:
            process.workers.close()

    counts, used = asyncio.run(walk())
    assert counts == [count(tree) for tree in trees]
    assert used <= threads * max(map(depth, trees))


def chain(length: int) -> list[Any]:
    """A tree without branches."""
    tree: list[Any] = []
    for _ in range(length - 1):
        tree = [tree]
    return tree


async def test_endless_recursion_has_an_end() -> None:
    """It fails with a code, not by as many threads as the machine can bear."""
    process = Process(1)
    try:
        assert await process.handle(Call(WALK, (chain(33),))) == 33
        with pytest.raises(LocalError, match="33 calls of def implementations wait for each other") as deep:
            await process.handle(Call(WALK, (chain(34),)))
        assert deep.value.code is Code.RESOURCE_EXHAUSTED
    finally:
        process.workers.close()


async def test_a_thread_may_wait_for_what_is_detached() -> None:
    """What belongs to no call needs a thread all the same."""
    process = Process(1)

    def outer() -> int:
        with detached():
            return process.call([[]])

    try:
        async with asyncio.timeout(10):
            assert await process.workers.run(outer) == 2
    finally:
        process.workers.close()


async def test_what_is_started_and_goes_on_is_not_nested() -> None:
    """Work that calls again and again, each time started by the call before, is not deep: nobody waits for it."""
    process = Process(1)
    contexts: list[contextvars.Context] = []

    def start() -> str:
        contexts.append(contextvars.copy_context())
        return threading.current_thread().name

    async def again(function: Callable[[], str]) -> str:
        name: str = await process.workers.run(function)
        return name

    try:
        first = await again(start)
        for _ in range(100):
            assert await asyncio.create_task(again(start), context=contexts[-1]) == first
    finally:
        process.workers.close()


async def test_after_the_end_nothing_is_begun() -> None:
    """Nor is a thread made for it."""
    process = Process(1)
    process.workers.close()
    with pytest.raises(LocalError, match="the mesh has stopped"):
        await process.handle(Call(WALK, ([],)))


class Held:
    """Functions that hold their threads until they are told to return.

    Attributes:
        begun: how many have begun.
        release: they may return.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.release = threading.Event()

    def hold(self) -> str:
        """Return when it is told to."""
        self.begun += 1
        self.release.wait(30)
        return "held"

    async def until(self, begun: int) -> None:
        """Return when so many have begun."""
        async with asyncio.timeout(10):
            while self.begun < begun:
                await asyncio.sleep(0.001)


@asynccontextmanager
async def workers_with(held: Held, threads: int) -> AsyncGenerator[tuple[WorkerThreads, list[asyncio.Task[Any]]]]:
    """Worker threads, all of which are held by calls that run."""
    workers = WorkerThreads(threads)
    calls = [asyncio.create_task(workers.run(held.hold)) for _ in range(threads)]
    try:
        await held.until(threads)
        yield workers, calls
    finally:
        held.release.set()
        await asyncio.wait(calls)
        workers.close()


async def give_up(calls: list[asyncio.Task[Any]]) -> None:
    """Cancel the calls, while their threads run on."""
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)


@asynccontextmanager
async def deadline_in(seconds: float) -> AsyncGenerator[None]:
    """Within the context, a call with this deadline is served."""
    token = ambient_deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        ambient_deadline.reset(token)


async def test_a_call_waits_for_a_thread_that_works() -> None:
    """The longest waiting one gets the next thread."""
    held = Held()
    order: list[int] = []
    async with workers_with(held, 1) as (workers, calls):
        waiting = [asyncio.create_task(workers.run(order.append, number)) for number in range(3)]
        await asyncio.sleep(0)
        held.release.set()
        await asyncio.gather(*calls, *waiting)
    assert order == [0, 1, 2]


async def test_the_wait_for_a_thread_is_bounded() -> None:
    """Half of the time is left for another instance, and the implementation has not begun."""
    held = Held()
    async with workers_with(held, 2) as (workers, _), deadline_in(60.0):
        async with deadline_in(0.1):
            begun = time.monotonic()
            with pytest.raises(NotBegunError, match=r"this instance had no free thread for 0\.0\d+ s") as refused:
                await workers.run(held.hold)
            assert time.monotonic() - begun >= 0.04
        error = refused.value
        assert (error.code, error.processed, error.retryable) == (Code.RESOURCE_EXHAUSTED, False, True)
        assert workers.shortage == ""
    assert held.begun == 2


async def test_threads_that_calls_have_given_up() -> None:
    """They are counted until they return. While all are like that, no call waits, not even one without a deadline."""
    held = Held()
    async with workers_with(held, 2) as (workers, calls):
        await give_up(calls[:1])
        assert workers.shortage == "1 of 2 threads are held by calls that were given up (Held.hold)"
        waiting = asyncio.create_task(workers.run(held.hold))
        await asyncio.sleep(0)
        await give_up(calls)
        for call in (waiting, workers.run(held.hold)):
            with pytest.raises(NotBegunError, match=r"no free thread: 2 of 2 threads are held by .*hold\)"):
                await call
        held.release.set()
        async with asyncio.timeout(10):
            while workers.shortage:
                await asyncio.sleep(0.001)
        assert await workers.run(held.hold) == "held"
    assert held.begun == 3


async def test_all_threads_are_given_up_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log says so, and what holds them."""
    held = Held()
    async with workers_with(held, 4) as (workers, calls):
        await give_up(calls)
        with pytest.raises(NotBegunError):
            await workers.run(held.hold)
    assert [each.getMessage().partition(".")[0] for each in caplog.records] == [
        "4 of 4 threads are held by calls that were given up (Held"
    ]


async def test_a_call_that_is_cancelled_while_it_waits_has_not_begun() -> None:
    """It leaves its place to others."""
    held = Held()
    async with workers_with(held, 1) as (workers, calls):
        waiting = [asyncio.create_task(workers.run(held.hold)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        with pytest.raises(CancelledBeforeItBegan):
            await waiting[0]
        held.release.set()
        assert await asyncio.gather(*calls, waiting[1]) == ["held", "held"]
    assert held.begun == 2


async def test_a_call_that_waits_when_the_mesh_stops() -> None:
    """It fails, as a call after that does."""
    held = Held()
    async with workers_with(held, 1) as (workers, _):
        waiting = asyncio.create_task(workers.run(held.hold))
        await asyncio.sleep(0)
        workers.close()
        with pytest.raises(LocalError, match="the mesh has stopped"):
            await waiting


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=25), st.integers(1, 3))
def test_no_place_is_lost(calls: list[tuple[bool, int]], threads: int) -> None:
    """Whenever calls are cancelled, before, while or after they run: in the end all threads work again."""

    async def run() -> int:
        workers = WorkerThreads(threads)
        tasks: list[asyncio.Task[Any]] = []
        for cancelled, turns in calls:
            tasks.append(asyncio.create_task(workers.run(time.sleep, 0.0002)))
            for _ in range(turns):
                await asyncio.sleep(0)
            if cancelled:
                tasks[-1].cancel()
        await asyncio.wait(tasks)
        async with asyncio.timeout(10):
            while workers.shortage:  # some of them run on
                await asyncio.sleep(0.0002)
        held = Held()
        last = [asyncio.create_task(workers.run(held.hold)) for _ in range(threads)]
        await held.until(threads)  # at the same time
        held.release.set()
        await asyncio.gather(*last)
        workers.close()
        return held.begun

    assert asyncio.run(run()) == threads
