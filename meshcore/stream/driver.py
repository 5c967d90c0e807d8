"""Drives one connection of the stream protocol: reads, writes once per turn of the event loop, and keeps the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Protocol

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

    Attributes:
        connection: the machine.
        over: why the connection is over, empty as long as it is not.
    """

    def __init__(self, connection: Connection, transport: Transport, handle: Callable[[Event], None]) -> None:
        self.connection = connection
        self.over = ""
        self._transport = transport
        self._handle = handle
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None  # of the writer; an asyncio.Event takes 0.8 KiB more
        self._timer: asyncio.TimerHandle | None = None
        self._writing_since = inf
        self._progress: asyncio.Future[None] | None = None
        self._reader: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Write soon. One write takes what all tasks of this turn of the loop add."""
        waiter = self._waiter
        if waiter is None:
            self._woken = True
        elif not waiter.done():
            waiter.set_result(None)

    async def progress(self) -> None:
        """Return after the next write, or when the connection is over."""
        if self.over:
            return
        if self._progress is None:
            self._progress = asyncio.get_running_loop().create_future()
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
        loop = asyncio.get_running_loop()
        reader = loop.create_task(self._read(), name="meshcore.stream.read")
        writer = loop.create_task(self._write(), name="meshcore.stream.write")
        tasks, ended = (reader, writer), loop.create_future()
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
        receive, feed, handle = self._transport.receive, self.connection.feed, self._handle
        while (data := await receive()) is not None:
            for event in feed(data, time.monotonic()):
                if isinstance(event, Failed):
                    self.over = self.over or event.text
                handle(event)
            if self.over:
                return
            if self.connection.pending:
                self.wake()

    async def _write(self) -> None:
        connection, send, create_future = (
            self.connection,
            self._transport.send,
            asyncio.get_running_loop().create_future,
        )
        with suppress(OSError):
            while True:
                if not self._woken:
                    self._waiter = create_future()
                    await self._waiter
                    self._waiter = None
                self._woken = False
                while connection.pending:
                    self._writing_since = time.monotonic()
                    data = connection.data_to_send(_WRITE)
                    for event in connection.progress():
                        self._handle(event)
                    await send(data)
                    del data  # it may be large, and the next one far
                    self._writing_since = inf
                    self._progressed()
                    if connection.pending:  # of something large: what else the loop has to do comes first
                        await asyncio.sleep(0)

    def _progressed(self) -> None:
        if self._progress is not None:
            self._progress.set_result(None)
            self._progress = None

    def _keep_time(self, *, has_read: bool = False) -> None:
        """Look after what is due, now and then."""
        connection, call_later = self.connection, asyncio.get_running_loop().call_later
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
                    self._progress = self._progress or asyncio.get_running_loop().create_future()
                    await asyncio.wait([self._progress, writer], return_when=asyncio.FIRST_COMPLETED)
