"""The items of one call on a connection that carries many, in both directions.

What is sent waits for the peer's credit. What came is bounded by the credit that this side gave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from meshcore.core.streaming.item_buffer import StreamClosedError
from meshcore.core.streaming.pipe import END, Pipe
from meshcore.stream.driver import Driver
from meshcore.wire.stream.events import Ended, Item, Writable


class SentItems:
    """The items that one side sends. Whoever writes them is as fast as the peer's reader.

    Args:
        driver: of the connection.
        call: its number.
    """

    def __init__(self, driver: Driver, call: int) -> None:
        self._driver = driver
        self._call = call
        self._closed = False
        self._writable = asyncio.Event()
        self._writable.set()

    async def send(self, payload: bytes) -> None:
        """Send an item, after those before it have got credit.

        Raises:
            StreamClosedError: the call has ended.
            LocalError: RESOURCE_EXHAUSTED, the item is larger than the peer takes.
        """
        while not (self._closed or self._writable.is_set()):
            await self._writable.wait()
        if self._closed:
            raise StreamClosedError("the call has ended")
        if not self._driver.connection.send_item(self._call, payload):  # until `go_on`, or `close` if it has ended
            self._writable.clear()
        self._driver.wake()

    def end(self) -> None:
        """Say that there are no more items. For a server this ends the call, also one whose caller is gone."""
        self.close()
        self._driver.connection.end(self._call)
        self._driver.wake()

    def go_on(self) -> None:
        """Let the writer go on: all items are on their way."""
        self._writable.set()

    def close(self) -> None:
        """Refuse further items. Whoever waits here gets a `StreamClosedError`."""
        self._closed = True
        self._writable.set()


class ReceivedItems:
    """The items that came for a call and were not read.

    Args:
        driver: of the connection.
        call: its number.
    """

    def __init__(self, driver: Driver, call: int) -> None:
        self._driver = driver
        self._call = call
        self._pipe = Pipe()  # its limit is the credit that the peer has

    @property
    def awaited(self) -> bool:
        """Whether a reader waits for an item."""
        return self._pipe.awaited

    def put(self, payload: bytes) -> None:
        """Take in an item that came. One for which there is no reader any more is dropped."""
        if self._pipe.open:
            self._pipe.put(payload)

    def end(self, error: BaseException | None = None) -> None:
        """Let the reader get the items that are left, and then the end or the error. The first end counts."""
        self._pipe.end(error)

    def close(self) -> None:
        """Drop what is left. Whoever waits here gets a `StreamClosedError`."""
        self._pipe.close()

    async def next(self) -> bytes | None:
        """The next item, None after the last one. Its writer may go on.

        Raises:
            StreamClosedError: the call has ended.
            BaseException: the error that the stream ended with.
        """
        payload: Any = await self._pipe.receive()
        if payload is END:
            return None
        self.consumed(payload)
        data: bytes = payload
        return data

    async def next_all(self) -> list[bytes]:
        """The items that are there, at least one; empty after the last one. Say `consumed` of each.

        Raises:
            StreamClosedError: the call has ended.
            BaseException: the error that the stream ended with.
        """
        return await self._pipe.receive_all()

    def consumed(self, payload: bytes) -> None:
        """Let the writer go on: an item was passed on."""
        connection = self._driver.connection
        connection.consumed(self._call, len(payload))
        if connection.pending:
            self._driver.wake()


class HasItems(Protocol):
    """A call with items."""

    @property
    def received(self) -> ReceivedItems:
        """Those that come."""
        ...

    @property
    def sent(self) -> SentItems:
        """Those that go."""
        ...


def pass_on(event: Item | Ended | Writable, calls: Mapping[int, HasItems]) -> None:
    """Tell a call of its items. What comes for one that has ended here is dropped.

    Args:
        event: of a connection.
        calls: its calls with items, by number.
    """
    call = calls.get(event.call)
    if call is None:
        return
    match event:
        case Item(payload=payload):
            call.received.put(payload)
        case Writable():
            call.sent.go_on()
        case Ended():
            call.received.end()
