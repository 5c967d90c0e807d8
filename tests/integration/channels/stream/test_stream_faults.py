"""What streaming methods over `stream-msgpack` make of each fault of the network in mid-stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from meshcore import Code, CommunicationError, MeshError, Policy, with_policy
from meshcore.channels import stream_peer
from meshcore.stream import driver
from tests.integration.channels.stream.test_stream_items import meeting
from tests.integration.channels.test_streams import serving, until
from tests.integration.mesh.streams.feeds import Chat, Feed, Price
from tests.support.faulty import Fault, FaultyProxy, faulty

BROKEN = {
    Fault.RESET_AT_ONCE,
    Fault.RESET_AFTER_REQUEST,
    Fault.RESET_IN_ANSWER,
    Fault.CLOSE_AT_ONCE,
    Fault.CLOSE_IN_ANSWER,
    Fault.NOT_HTTP,
    Fault.NOT_OURS,
    Fault.GUSHING,
    Fault.SILENT,
    Fault.DEAF,
}
"""The connection is over, for the reader too."""
UNREADABLE = {Fault.TRUNCATED, Fault.EMPTY}
ENDLESS = {Fault.ENDLESS}
MANY = 10**6


class End(NamedTuple):
    """How a stream has ended.

    Attributes:
        items: that came before.
        error: that came after them.
        seconds: from the fault to the error.
    """

    items: list[int]
    error: MeshError
    seconds: float


Begin = Callable[[Callable[[], None]], Awaitable[End]]


async def read(stream: AsyncIterator[Any], spoil: Callable[[], None]) -> End:
    """Read a stream that is spoilt after ten items."""
    items: list[int] = []
    began = 0.0
    try:
        async for item in stream:
            items.append(item.cents if isinstance(item, Price) else item)
            if len(items) == 10:
                began = time.monotonic()
                spoil()
    except MeshError as error:
        return End(items, error, time.monotonic() - began)
    raise AssertionError(f"it has ended without an error after {len(items)} items")


async def upload(feed: Feed, spoil: Callable[[], None]) -> End:
    """Send items that do not end, to a connection that is spoilt after ten of them."""
    sent: list[int] = []
    began = 0.0

    async def prices() -> AsyncIterator[Price]:
        nonlocal began
        while True:
            if len(sent) == 10:
                began = time.monotonic()
                spoil()
            sent.append(len(sent))
            yield Price("tea", 1)
            await asyncio.sleep(0.001)

    with pytest.raises(MeshError) as failed:
        await feed.total(prices())
    return End(sent, failed.value, time.monotonic() - began)


async def count_up() -> AsyncIterator[int]:
    """Items of a caller, until it leaves."""
    for number in range(MANY):
        yield number
        await asyncio.sleep(0.001)


async def recovered(proxy: FaultyProxy, feed: Feed) -> None:
    """Return when calls take the stream again."""
    proxy.recover()
    async with asyncio.timeout(20):
        before = proxy.streamed
        while proxy.streamed == before:
            try:
                assert await feed.unary("well") == "well"
            except MeshError:  # on a connection that is found to be broken
                await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead peer is found within a second, and a stream is tried again at once."""
    monkeypatch.setattr(driver, "PING_INTERVAL", 0.2)
    monkeypatch.setattr(driver, "PING_TIMEOUT", 0.8)
    monkeypatch.setattr(stream_peer, "TRY_AGAIN", 0.05)


async def test_a_fault_in_mid_stream_ends_it_soon_and_once() -> None:
    """The items before it come first and in order, then one error. Nothing is sent again, and both sides let go."""
    async with serving() as (url, _, log), faulty(url) as proxy, meeting(proxy.url) as mesh:
        policy = Policy(timeout=60.0, idle=2.0)
        feed = with_policy(await mesh.get_service(Feed), policy)
        chat = with_policy(await mesh.get_service(Chat), policy)
        shapes: dict[str, Begin] = {
            "watch": lambda spoil: read(feed.watch("tea", MANY), spoil),
            "double": lambda spoil: read(chat.double(count_up()), spoil),
        }
        for fault in BROKEN | UNREADABLE | ENDLESS:
            for name, begin in shapes.items():
                await recovered(proxy, feed)
                log.ended.clear()
                end = await begin(lambda fault=fault: proxy.suffer(fault))  # type: ignore[misc]
                told = f"{fault}, {name}: {end.error!r} after {len(end.items)} items and {end.seconds:.2f} s"
                code = Code.INTERNAL if fault in UNREADABLE else Code.UNAVAILABLE
                assert end.error.code is (Code.DEADLINE_EXCEEDED if fault in ENDLESS else code), told
                assert isinstance(end.error, CommunicationError), told
                assert len(end.error.attempts) == 1, told
                step = 2 if name == "double" else 1
                assert end.items == list(range(0, step * len(end.items), step)), told
                assert end.seconds < 8, told
                proxy.recover()
                await until(lambda name=name: log.ended == [name])  # type: ignore[misc]


async def test_a_fault_while_items_go_up_ends_the_call_soon_and_once() -> None:
    """The caller gets one error, and its items are not asked for any more; the implementation gets one, too."""
    async with serving() as (url, _, log), faulty(url) as proxy, meeting(proxy.url) as mesh:
        feed = with_policy(await mesh.get_service(Feed), Policy(timeout=60.0))
        for fault in (Fault.RESET_AT_ONCE, Fault.CLOSE_AT_ONCE, Fault.SILENT, Fault.DEAF):
            await recovered(proxy, feed)
            log.ended.clear()
            end = await upload(feed, lambda fault=fault: proxy.suffer(fault))  # type: ignore[misc]
            told = f"{fault}: {end.error!r} after {len(end.items)} items and {end.seconds:.2f} s"
            assert isinstance(end.error, CommunicationError), told
            assert end.error.code is Code.UNAVAILABLE, told
            assert (end.error.processed, len(end.error.attempts)) == (True, 1), told
            assert end.seconds < 8, told
            number = len(end.items)
            await asyncio.sleep(0.02)
            assert len(end.items) == number, told
            proxy.recover()
            await until(lambda: log.ended == ["total"])
