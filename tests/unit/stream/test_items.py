"""The items of a call between two connections: they arrive in order, and what is on the way is bounded."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.streaming.item_buffer import StreamClosedError
from meshcore.stream.driver import Driver, new_connection
from meshcore.stream.items import ReceivedItems, SentItems, pass_on
from meshcore.testing import run_virtually
from meshcore.wire.stream.connection import Connection
from meshcore.wire.stream.events import Ended, Event, Item, Lost, Ready, Requested, Writable
from meshcore.wire.stream.limits import Limits
from tests.support.stream_pair import Pair

ITEMS, BYTES = 4, 3_000
LIMITS = Limits(frame=1_024, header_bytes=900, message=2_000, items=ITEMS, item_bytes=BYTES)


class End:
    """One end of a line in memory, with the items of one call that goes both ways.

    Attributes:
        other: the end that reads what this one writes.
        items: those of the call, once it has begun.
        most: the largest number of items that were not read at a time.
    """

    other: End

    def __init__(self, *, client: bool) -> None:
        self._client = client
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.begun = asyncio.Event()
        self.driver = Driver(new_connection(client=client, limits=LIMITS), self, self._handle)
        self.unread = self.most = 0
        self.sent: SentItems
        self.received: ReceivedItems

    def open(self, number: int) -> None:
        self.sent, self.received = SentItems(self.driver, number), ReceivedItems(self.driver, number)
        self.number = number
        self.begun.set()

    def _handle(self, event: Event) -> None:
        match event:
            case Ready() if self._client:
                self.open(self.driver.connection.request("chat", b"", items=True))
                self.driver.wake()
            case Requested(call=number):
                self.open(number)
            case Item() | Ended() | Writable():
                if isinstance(event, Item):
                    self.unread += 1
                    self.most = max(self.most, self.unread)
                pass_on(event, {self.number: self})
            case Lost():
                self.sent.close()
                self.received.end(ConnectionResetError())
            case _:
                pass

    async def receive(self) -> bytes | None:
        return await self._inbox.get()

    async def send(self, data: bytes) -> None:
        self.other._inbox.put_nowait(data)

    def abort(self) -> None:
        self.other._inbox.put_nowait(None)

    async def write(self, sizes: list[int], *, closes: bool = True) -> None:
        await self.begun.wait()
        for number, size in enumerate(sizes):
            await self.sent.send(number.to_bytes(2) + bytes(size))
        if closes:
            self.sent.end()

    async def read(self, pauses: list[float], *, batches: bool) -> list[int]:
        """Read to the end, with a pause before each item: the numbers and sizes of the items."""
        await self.begun.wait()
        got: list[bytes] = []
        while True:
            await asyncio.sleep(pauses[len(got) % len(pauses)])
            if batches:
                payloads = await self.received.next_all()
                for payload in payloads:
                    self.received.consumed(payload)
            else:
                payload_or_end = await self.received.next()
                payloads = [] if payload_or_end is None else [payload_or_end]
            self.unread -= len(payloads)
            got += payloads
            if not payloads:
                assert [int.from_bytes(each[:2]) for each in got] == list(range(len(got)))
                return [len(each) - 2 for each in got]


def pair() -> tuple[End, End]:
    """A client and a server on one line."""
    client, server = End(client=True), End(client=False)
    client.other, server.other = server, client
    return client, server


SIZES = st.lists(st.integers(0, 1_900), max_size=30)
PAUSES = st.lists(st.sampled_from([0.0, 0.001, 1.0]), min_size=1, max_size=5)


@given(sizes=st.tuples(SIZES, SIZES), pauses=st.tuples(PAUSES, PAUSES), batches=st.booleans())
def test_all_arrive_in_order_and_few_wait(
    *, sizes: tuple[list[int], list[int]], pauses: tuple[list[float], list[float]], batches: bool
) -> None:
    """Both ways at the same time, whatever the sizes and the speed of the readers."""

    async def main() -> None:
        client, server = pair()
        running = [asyncio.ensure_future(end.driver.run()) for end in (client, server)]
        async with asyncio.timeout(1_000):
            down = asyncio.ensure_future(client.read(pauses[1], batches=batches))
            up, _, _ = await asyncio.gather(
                server.read(pauses[0], batches=batches), client.write(sizes[0]), server.write(sizes[1], closes=False)
            )
            server.sent.end()  # which ends the call
            await down
        assert (up, down.result()) == sizes
        assert max(client.most, server.most) <= ITEMS
        client.driver.close("done")
        server.driver.close("done")
        await asyncio.wait(running)
        assert client.driver.connection.waiting == server.driver.connection.waiting == 0

    run_virtually(main())


def test_a_writer_that_waits_is_told_that_the_call_has_ended() -> None:
    """It gets a `StreamClosedError`; its reader gets what came, and then the error."""

    async def main() -> None:
        client, server = pair()
        running = [asyncio.ensure_future(end.driver.run()) for end in (client, server)]
        await client.begun.wait()
        writing = asyncio.ensure_future(client.write([10] * 100))
        await server.begun.wait()
        while server.unread < ITEMS:
            await asyncio.sleep(0.01)
        client.driver.abort("cut")
        with pytest.raises(StreamClosedError):
            await writing
        with pytest.raises(StreamClosedError):
            await client.sent.send(b"more")
        assert len(await server.received.next_all()) == ITEMS
        with pytest.raises(ConnectionResetError):
            await server.received.next()
        await asyncio.wait(running)

    run_virtually(main())


def test_what_is_closed_drops_what_comes() -> None:
    """A reader that is gone gets nothing, and one that waits is told so."""

    async def main() -> None:
        received = ReceivedItems(Driver(new_connection(client=True, limits=LIMITS), End(client=True), print), 1)
        waiting = asyncio.ensure_future(received.next())
        while not received.awaited:
            await asyncio.sleep(0)
        received.close()
        received.put(b"late")
        received.end()
        for reading in (waiting, received.next_all()):
            with pytest.raises(StreamClosedError):
                await reading

    run_virtually(main())


class _Machine:
    """A driver that only has a machine."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def wake(self) -> None:
        """Nothing: the test writes itself."""


async def test_a_writer_that_never_waits_is_stopped_when_its_call_was_canceled() -> None:
    """The machine knows it before the loop has turned and the writer is told: until then it waits, and others run."""
    pair = Pair()
    pair.settle()
    number = pair.client.request("m", b"")
    pair.settle()
    pair.client.cancel(number)
    pair.settle()  # the event is there, and nobody has handled it yet
    sent = SentItems(cast("Driver", _Machine(pair.server)), number)

    async def endless() -> None:
        while True:
            await sent.send(b"")

    writer = asyncio.ensure_future(endless())
    for _ in range(3):
        await asyncio.sleep(0)  # it would never return
    sent.close()
    with pytest.raises(StreamClosedError):
        await writer
