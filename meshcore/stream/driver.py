"""Drives one connection of the stream protocol: reads, writes once per turn of the event loop, and keeps the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Protocol

from meshcore.stream.eager import EAGER, start
from meshcore.wire.stream.connection import Connection
from meshcore.wire.stream.events import Event, Failed
from meshcore.wire.stream.limits import Limits

STALL = 15.0
"""Seconds. A peer that takes nothing of what is written for so long is disconnected, even if it sends."""

PING_INTERVAL, PING_TIMEOUT = 5.0, 10.0
"""Seconds between pings, and until something must come after one. So a dead peer is found within 15 s, and one whose
event loop is blocked for less than 10 s is not taken for dead."""

_WRITE = 2**17
"""Bytes of large messages that are written at once."""

_SLICE = 0.02
"""Seconds that the events of a message may take before the event loop turns: calls on other connections run, too."""

_APART = 0.0001
"""Seconds between two writes that do not wait for the end of a turn of the event loop."""

_LATE = 0.2
_LAST_WORDS = 1.0
"""Seconds to write what is left when a connection has failed. It tells the peer why."""


def new_connection(*, client: bool, limits: Limits) -> Connection:
    """The machine of one side of a new connection."""
    return Connection(
        client=client, now=time.monotonic(), limits=limits, ping_interval=PING_INTERVAL, ping_timeout=PING_TIMEOUT
    )


class Transport(Protocol):
    """Sends and receives messages of bytes, such as a WebSocket. Their borders mean nothing."""

    def receive(self) -> Awaitable[bytes | None]:
        """The next message, None if the connection is closed or broken."""
        ...

    def send(self, data: bytes) -> Awaitable[None]:
        """Write a message. It returns when the next one may be written.

        Raises:
            OSError: the connection is closed.
        """
        ...

    def abort(self) -> None:
        """Close the connection at once, without what is not written yet."""
        ...


class Driver:
    """Runs one side of a connection until it is over.

    Args:
        connection: the machine.
        transport: carries its bytes.
        handle: called with each event. It raises nothing.
        at_once: whether what a message has caused, such as answers, may be written before the loop turns. Only if the
            last write was not just before: one for each of many messages would take longer than the turns it saves.

    Attributes:
        connection: the machine.
        over: why the connection is over, empty as long as it is not.
    """

    def __init__(
        self, connection: Connection, transport: Transport, handle: Callable[[Event], None], *, at_once: bool = False
    ) -> None:
        self.connection = connection
        self.over = ""
        self._transport = transport
        self._handle = handle
        self._at_once = at_once and EAGER
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.Future[None] | None = None  # what the writer waits for, if it has nothing to do
        self._begun: asyncio.Task[None] | None = None  # a write at once that has to wait: the writer goes on with it
        self._handling = False  # events, after which the reader looks at what is to be written
        self._writing_since = inf
        self._wrote = -inf
        self._progress: asyncio.Future[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Write soon. One write takes what all tasks of this turn of the loop add."""
        # A future of its own: an `asyncio.Event` would take 0.9 us more for each write.
        if self._idle is not None and not self._handling:
            if not self._idle.done():
                self._idle.set_result(None)
            self._idle = None

    async def progress(self) -> None:
        """Return after the next write, or when the connection is over."""
        if self.over:
            return
        if self._progress is None:
            self._progress = self._loop.create_future()
        await asyncio.shield(self._progress)

    def close(self, why: str) -> None:
        """End the connection: what is left is written, for a bounded time. `run` returns."""
        self.over = self.over or why
        if self._reader is not None:
            self._reader.cancel()

    def abort(self, why: str) -> None:
        """End the connection at once. `run` returns."""
        self._transport.abort()
        self.close(why)

    async def run(self) -> None:
        """Run until the connection is over. Then calls that are in flight are reported as `Lost`.

        It closes the transport only if the peer does not read.
        """
        create, ended = self._loop.create_task, self._loop.create_future()
        reader = create(self._read(), name="meshcore.stream.read")
        writer = create(self._write(), name="meshcore.stream.write")
        tasks = (reader, writer)
        for task in tasks:  # asyncio.wait() would take 1 KiB as long as the connection lives
            task.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
        self._reader = reader
        self._keep_time()
        self.wake()
        try:
            if not self.over:
                await ended
        finally:
            self.over = self.over or "the connection was closed"
            if self._timer is not None:
                self._timer.cancel()
            try:
                await self._last_words(writer)
            finally:
                for task in tasks:
                    task.cancel()
                for lost in self.connection.lost():
                    self._handle(lost)
                self._progressed()
        await asyncio.wait(tasks)
        for task in tasks:  # what is raised there is a mistake of this side
            if not task.cancelled():
                task.result()

    async def _read(self) -> None:
        receive, connection, handle, clock = self._transport.receive, self.connection, self._handle, time.monotonic
        while (data := await receive()) is not None:
            now = clock()
            until = now + _SLICE
            events = iter(connection.feed(data, now))
            self._handling = True
            try:
                for event in events:
                    if isinstance(event, Failed):
                        self.over = self.over or event.text
                    handle(event)
                    if clock() > until:
                        await self._pause()
                        until = clock() + _SLICE
            finally:
                for event in events:  # it was closed meanwhile, and no call may wait for ever
                    handle(event)
                self._handling = False
            if self.over:
                return
            if connection.pending:
                if self._at_once and self._idle is not None and now - self._wrote > _APART:
                    self._write_at_once()
                else:
                    self.wake()

    async def _pause(self) -> None:
        """Let the loop turn in the middle of a message."""
        self._handling = False
        if self.connection.pending:
            self.wake()
        await asyncio.sleep(0)
        self._handling = True

    def _write_at_once(self) -> None:
        """Write before the loop turns, which saves a lone caller a turn. The reader does not wait for the peer."""
        task = start(self._loop, self._write_pending())
        if not task.done() or task.cancelled() or task.exception() is not None:
            self._begun = task
            self.wake()

    async def _write(self) -> None:
        with suppress(OSError):
            while True:
                if self._begun is not None:
                    await self._begun
                    self._begun = None
                await self._write_pending()
                self._idle = self._loop.create_future()
                await self._idle

    async def _write_pending(self) -> None:
        connection = self.connection
        while connection.pending:
            self._writing_since = time.monotonic()
            data = connection.data_to_send(_WRITE)
            for event in connection.progress():
                self._handle(event)
            await self._transport.send(data)
            del data  # it may be large, and the next one far
            self._wrote, self._writing_since = time.monotonic(), inf
            self._progressed()
            if connection.pending:  # of something large: what else the loop has to do comes first
                await asyncio.sleep(0)

    def _progressed(self) -> None:
        if self._progress is not None:
            self._progress.set_result(None)
            self._progress = None

    def _keep_time(self, *, has_read: bool = False) -> None:
        """Look after what is due, now and then."""
        connection, call_later = self.connection, self._loop.call_later
        if self.over:
            return
        now = time.monotonic()
        if now - connection.next_tick > _LATE and not has_read:
            # This process did nothing for a while: first read what has come.
            self._timer = call_later(_LATE, partial(self._keep_time, has_read=True))
            return
        if now - self._writing_since > STALL:
            self.abort("the peer does not read")
            return
        for event in connection.tick(now):
            if isinstance(event, Failed):  # the peer is dead
                self.abort(event.text)
            self._handle(event)
        if connection.pending:
            self.wake()
        # What comes meanwhile may make the next ping due earlier, but not before the interval has passed.
        pause = max(min(connection.next_tick - time.monotonic(), PING_INTERVAL), 0.001)
        self._timer = call_later(pause, self._keep_time)

    async def _last_words(self, writer: asyncio.Task[Any]) -> None:
        """Write what is left, which is why a connection has failed."""
        if writer.done() or self._writing_since < inf or not self.connection.pending:
            return
        self.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                while not writer.done() and self.connection.pending:
                    self._progress = self._progress or self._loop.create_future()
                    await asyncio.wait([self._progress, writer], return_when=asyncio.FIRST_COMPLETED)
