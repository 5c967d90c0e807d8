"""What drives a connection: it writes once for a turn of the loop, keeps the time, and ends with all that it began."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import pytest

from meshcore.stream.driver import PING_INTERVAL, PING_TIMEOUT, STALL, Driver, new_connection
from meshcore.stream.eager import EAGER
from meshcore.testing import run_virtually
from meshcore.wire.frames import Reason
from meshcore.wire.stream.events import Answered, Event, Failed, Lost, Ready, Requested
from meshcore.wire.stream.limits import Limits


def virtually(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on a loop with virtual time."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        run_virtually(main())

    return run


class End:
    """One end of a line in memory, and what drives the connection on it.

    Attributes:
        events: what was reported.
        writes: what was written.
        blocked: set unless what is written is not taken.
        inbox: what it reads.
    """

    def __init__(self, *, client: bool, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self.events: list[Event] = []
        self.writes: list[bytes] = []
        self.taken = asyncio.Event()
        self.taken.set()
        self.inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.other: End | None = None
        self.aborted = False
        self.connection = new_connection(client=client, limits=limits)
        self.driver = Driver(self.connection, self, self._handle, at_once=not client)
        self.slow = 0.0  # seconds that it takes to handle a request

    def _handle(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Requested):
            time.sleep(self.slow)
            self.connection.answer(event.call, event.payload)
            self.driver.wake()

    async def receive(self) -> bytes | None:
        return await self.inbox.get()

    async def send(self, data: bytes) -> None:
        if self.aborted:
            raise ConnectionResetError
        await self.taken.wait()
        self.writes.append(data)
        if self.other is not None:
            self.other.inbox.put_nowait(data)

    def abort(self) -> None:
        self.aborted = True
        self.taken.set()
        self.inbox.put_nowait(None)
        if self.other is not None:
            self.other.inbox.put_nowait(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a state."""
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.001)


async def pair(**options: Any) -> tuple[End, End, list[asyncio.Task[None]]]:
    """A client and a server that are connected and ready."""
    client, server = End(client=True, **options), End(client=False, **options)
    client.other, server.other = server, client
    tasks = [asyncio.create_task(end.driver.run()) for end in (client, server)]
    await client.until(lambda: client.connection.ready and server.connection.ready)
    return client, server, tasks


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for both ends."""
    done, _ = await asyncio.wait(tasks, timeout=20)
    assert len(done) == len(tasks)
    for task in tasks:
        task.result()


@virtually
async def test_one_write_for_a_turn():
    """Calls that begin in one turn of the loop go out in one write, and so do their answers."""
    client, server, tasks = await pair()
    before = len(client.writes), len(server.writes)
    for _ in range(100):
        client.connection.request("m", b"x")
        client.driver.wake()
    await client.until(lambda: sum(isinstance(event, Answered) for event in client.events) == 100)
    assert (len(client.writes) - before[0], len(server.writes) - before[1]) == (1, 1)
    client.abort()
    await ended(tasks)


@pytest.mark.skipif(not EAGER, reason="answers wait for a turn of the loop before Python 3.12")
@virtually
async def test_a_lone_answer_is_written_before_the_loop_turns():
    """But only the first of many that come one after the other. The others share a write."""
    client, server, tasks = await pair()
    await asyncio.sleep(1)
    requests = [client.connection.request("m", b"x") for _ in range(3)]
    server.inbox.put_nowait(client.connection.data_to_send())
    before = len(server.writes)
    await server.until(lambda: len(server.writes) > before)
    turns = 0
    for _ in requests:
        client.connection.request("m", b"x")
        server.inbox.put_nowait(client.connection.data_to_send())
    while server.connection.calls or server.connection.pending or not server.inbox.empty():
        await asyncio.sleep(0)
        turns += 1
    assert len(server.writes) - before == 3
    assert turns <= 4
    client.abort()
    await ended(tasks)


async def test_the_loop_turns_within_a_message_of_slow_calls():
    """So that other connections are served meanwhile, and the first answers are written."""
    client, server, tasks = await pair()
    server.slow = 0.03
    before = len(server.writes)
    for _ in range(5):
        client.connection.request("m", b"x")
    client.driver.wake()
    await client.until(lambda: sum(isinstance(event, Answered) for event in client.events) == 5)
    assert len(server.writes) - before >= 4
    client.abort()
    await ended(tasks)


async def test_no_event_is_lost_if_the_connection_is_closed_in_the_middle_of_a_message():
    """A client would wait for ever for an answer that has come."""
    client, server, tasks = await pair()
    server.slow = 0.03
    requests = [client.connection.request("m", b"x") for _ in range(3)]
    client.driver.wake()
    await server.until(lambda: any(isinstance(event, Requested) for event in server.events))
    server.driver.close("it is enough")
    await asyncio.wait(tasks[1:])
    assert [event.call for event in server.events if isinstance(event, Requested)] == requests
    client.abort()
    await ended(tasks)


@virtually
async def test_small_answers_pass_a_large_one_by():
    """What is small goes with the next part of what is large."""
    limits = Limits.of_message(10_000_000)
    client, server, tasks = await pair(limits=limits)
    large = client.connection.request("m", bytes(10_000_000))
    client.driver.wake()
    while len(client.writes) < 4:  # turns of the loop, which take no virtual time
        await asyncio.sleep(0)
    small = client.connection.request("m", b"x")
    client.driver.wake()
    await client.until(lambda: any(isinstance(each, Answered) and each.call == large for each in client.events))
    order = [event.call for event in client.events if isinstance(event, Answered)]
    assert order == [small, large]
    assert max(map(len, client.writes + server.writes)) < 300_000
    client.abort()
    await ended(tasks)


@virtually
async def test_an_answer_that_is_being_sent():
    """It is until its last part was handed out. Who waits for that looks after each write."""
    limits = Limits.of_message(10_000_000)
    client, server, tasks = await pair(limits=limits)
    call = client.connection.request("m", bytes(10_000_000))
    client.driver.wake()
    while not server.connection.is_sending(call):
        await asyncio.sleep(0)
    await client.until(lambda: any(isinstance(each, Answered) for each in client.events))
    assert not server.connection.is_sending(call)
    assert not server.connection.is_sending(call + 1)
    client.abort()
    await ended(tasks)


@virtually
async def test_a_dead_peer():
    """It is found within the time of two pings, calls are lost, and the line is cut."""
    client, server, tasks = await pair()
    server.taken.clear()
    began = time.monotonic()
    call = client.connection.request("m", b"x")
    client.driver.wake()
    await ended(tasks[:1])
    assert time.monotonic() - began <= PING_INTERVAL + PING_TIMEOUT + 0.1
    assert client.aborted
    assert isinstance(client.events[-2], Failed)
    assert client.events[-2].reason is Reason.SILENT
    assert client.events[-1] == Lost(call, processed=True)
    assert "nothing came from the peer" in client.driver.over
    await ended(tasks)


@virtually
async def test_a_peer_that_does_not_read():
    """It is cut off when nothing was taken for long, though it sends."""
    client, server, tasks = await pair()
    server.taken.clear()

    async def send() -> None:
        while not server.aborted:
            await asyncio.sleep(1)
            client.connection.request("m", b"x")
            client.driver.wake()

    sending = asyncio.create_task(send())
    began = time.monotonic()
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=60)
    assert time.monotonic() - began <= STALL + PING_INTERVAL + PING_TIMEOUT
    sending.cancel()
    client.abort()
    server.abort()
    await ended(tasks)


@virtually
async def test_garbage():
    """The peer is told what is wrong, then the connection ends."""
    _, server, tasks = await pair()
    server.inbox.put_nowait(b"\xff" * 100)
    await asyncio.wait(tasks[1:], timeout=5)
    assert tasks[1].done()
    assert isinstance(server.events[-1], Failed)
    assert server.driver.over == server.events[-1].text
    client = tasks[0]
    await asyncio.wait([client], timeout=5)
    assert client.done()


@virtually
async def test_a_peer_that_leaves_at_once():
    """A connection that is closed before anything has come ends without an error."""
    client = End(client=True)
    client.inbox.put_nowait(None)
    await ended([asyncio.create_task(client.driver.run())])
    assert client.events == []
    assert client.driver.over == "the connection was closed"


@virtually
async def test_an_end_that_is_cancelled():
    """Its calls are lost, its tasks end, and who waits for a write goes on."""
    client, _, tasks = await pair()
    call = client.connection.request("m", b"x")
    client.taken.clear()
    client.driver.wake()
    waiting = asyncio.create_task(client.driver.progress())
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1], timeout=5)
    assert tasks[0].cancelled()
    assert [event for event in client.events if isinstance(event, Lost)] == [Lost(call, processed=True)]
    await asyncio.wait_for(waiting, 1)
    client.abort()
    await ended(tasks[1:])


@virtually
async def test_idle_ends_say_little():
    """An hour of silence takes a ping from each end every few seconds, and no more."""
    client, server, tasks = await pair()
    before = len(client.writes)
    await asyncio.sleep(3600)
    assert not client.driver.over
    assert 0 < len(client.writes) - before <= 2 * 3600 / PING_INTERVAL + 2
    assert any(isinstance(event, Ready) for event in server.events)
    client.abort()
    await ended(tasks)


def test_constants_fit():
    """What the guide says of a dead peer."""
    assert pytest.approx(15) == PING_INTERVAL + PING_TIMEOUT
