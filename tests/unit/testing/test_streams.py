"""Streams in memory: the same wire without sockets, with faults in mid-stream, and in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from math import inf
from typing import Any

import pytest

from meshcore import CommunicationError, MeshError, Policy, with_policy
from meshcore.testing import Fault, Faults, memory_mesh, run_virtually
from tests.integration.mesh.streams.feeds import Feed, FeedImpl, FeedsModule, Price, outcome, prices

CHANNELS = pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "stream-msgpack"])


async def until_ended(log: Any, name: str) -> None:
    """Wait for the `finally` of an implementation."""
    async with asyncio.timeout(10):
        while name not in log.ended:
            await asyncio.sleep(0)


@CHANNELS
async def test_streams_in_memory(channel: str) -> None:
    """Items, the end, and leaving before it."""
    async with memory_mesh(FeedsModule, channel=channel) as mesh:
        feed = await mesh.get_service(Feed)
        log = (await mesh.get(FeedImpl)).log
        assert [price.cents async for price in feed.watch("tea", 100)] == list(range(100))
        assert await feed.total(prices(1, 2, 3)) == 6
        assert await feed.first(number async for number in feed.endless()) == 1
        await until_ended(log, "endless")
        stream = feed.stuck(2)
        assert [await anext(stream), await anext(stream)] == [0, 1]
        del stream
        await until_ended(log, "stuck")
        slow = feed.endless()
        begun = await anext(slow)
        for item in range(begun + 1, begun + 50):
            assert await anext(slow) == item
            for _ in range(20):
                await asyncio.sleep(0)
        assert log.written - begun < 500  # a slow reader slows the server, here by the few chunks between them
        await slow.aclose()


@CHANNELS
async def test_an_instance_that_refuses_is_passed_over(channel: str) -> None:
    """Before the first item, as any call."""
    async with memory_mesh(FeedsModule, channel=channel, instances=2) as mesh:
        feed = await mesh.get_service(Feed)
        mesh.refuse(0)
        for _ in range(10):
            assert await feed.total(prices(1)) == 1
            assert len([price async for price in feed.watch("tea")]) == 3


@CHANNELS
@pytest.mark.parametrize(("fault", "text"), [(Fault.DROP, "the connection broke"), (Fault.GARBAGE, "does not fit")])
async def test_a_fault_in_mid_stream_comes_after_the_items_before_it(channel: str, fault: Fault, text: str) -> None:
    """And the call is not sent again, although the method is idempotent."""
    faults = Faults(items=2)
    async with memory_mesh(FeedsModule, faults=faults, channel=channel) as mesh:
        feed = await mesh.get_service(Feed)
        faults.then(fault)
        got, error = await outcome(feed.watch("tea", 10))
        assert [price.cents for price in got] == [0, 1]
        assert isinstance(error, CommunicationError)
        assert text in error.message
        assert faults.happened == [fault]
        await until_ended((await mesh.get(FeedImpl)).log, "watch")


@CHANNELS
async def test_a_fault_before_the_first_item_is_retried(channel: str) -> None:
    """If the method is idempotent, or nothing was sent."""
    faults = Faults(items=0)
    async with memory_mesh(FeedsModule, faults=faults, channel=channel) as mesh:
        feed = await mesh.get_service(Feed)
        faults.then(Fault.REFUSE, Fault.DROP, Fault.ERROR)
        assert len([price async for price in with_policy(feed, Policy(attempts=4)).watch("tea")]) == 3
        faults.then(Fault.DROP)
        with pytest.raises(MeshError, match="the connection broke"):
            await anext(feed.endless())
        faults.then(Fault.REFUSE)
        assert await feed.total(prices(1, 2)) == 3


@CHANNELS
async def test_a_connection_may_break_while_the_caller_sends_items(channel: str) -> None:
    """The implementation is told that they ended, and the caller's generator is closed."""
    faults = Faults(items=2)
    async with memory_mesh(FeedsModule, faults=faults, channel=channel) as mesh:
        feed = await mesh.get_service(Feed)
        faults.then(Fault.DROP)
        made: list[int] = []
        closed = asyncio.Event()

        async def items() -> AsyncIterator[Price]:
            try:
                for cents in range(1000):
                    made.append(cents)
                    yield Price("tea", cents)
                    await asyncio.sleep(0)
            finally:
                closed.set()

        with pytest.raises(CommunicationError, match="the connection broke"):
            await feed.total(items())
        assert closed.is_set()
        assert len(made) < 100
        assert faults.happened == [Fault.DROP]
        await until_ended((await mesh.get(FeedImpl)).log, "total")


@CHANNELS
def test_a_slow_reader_in_virtual_time(channel: str) -> None:
    """A second between two items: the writer, of either side, is ahead by a bounded number of them."""

    async def scenario() -> None:
        async with memory_mesh(FeedsModule, faults=Faults(item_latency=1.0), channel=channel) as mesh:
            feed = with_policy(await mesh.get_service(Feed), Policy(timeout=inf, idle=inf))
            log = (await mesh.get(FeedImpl)).log
            stream = feed.endless()
            for number in range(1, 30):
                assert await anext(stream) == number
            assert time.monotonic() > 28
            assert log.written < 500
            await stream.aclose()
            assert await feed.total(prices(*range(30))) == sum(range(30))

    run_virtually(scenario())


async def test_slow_items() -> None:
    """An item may take time; too much of it ends the stream."""
    faults = Faults(item_latency=0.05)
    async with memory_mesh(FeedsModule, faults=faults) as mesh:
        feed = await mesh.get_service(Feed)
        assert len([price async for price in feed.watch("tea")]) == 3
        got, error = await outcome(with_policy(feed, Policy(timeout=1.0)).endless())
        assert 1 <= len(got) <= 20
        assert isinstance(error, CommunicationError)
