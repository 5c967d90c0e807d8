"""Worker threads that wait for each other: however `def` implementations call each other, each call gets a thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore import Call, Code, LocalError, Service, service
from meshcore.client.bridge import Bridge
from meshcore.core.threads import Workers, detached
from meshcore.declare.reader import describe_service


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
        self.workers = Workers(threads)
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
