"""One streaming call under way: a task of its own, in which its whole stack lives until the stream ends."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from meshcore.client.streaming.feed import Feed
from meshcore.core.call import Call, SendItem, StreamHandler
from meshcore.core.context.call_scope import failure_of
from meshcore.core.context.threads import caught, owning_call
from meshcore.core.errors import Code, LocalError
from meshcore.core.streaming.pipe import Pipe

_GRACE = 5.0
"""Seconds for the `finally` of generators when the mesh stops. They must not block the stop."""


class Streams:
    """The streams of a mesh that are under way. They end when the context is left."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopped = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped = True
        for task in self._tasks:
            task.cancel("the mesh stops")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE)

    async def __call__(self, handler: StreamHandler, call: Call, send: SendItem) -> Any:
        """Count a streaming call as one that is under way: an interceptor, the outermost.

        Raises:
            LocalError: the mesh stops.
        """
        if not call.method.yields:  # it runs in its caller's own task
            return await handler(call, send)
        if self._stopped:
            raise _stopping(call)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a call runs in a task
        self._tasks.add(task)
        try:
            return await handler(call, send)
        finally:
            self._tasks.discard(task)


def _stopping(call: Call) -> LocalError:
    return LocalError(Code.UNAVAILABLE, f"{call.method}: the stream has ended, because the mesh stops")


class StreamRun:
    """A call whose result is a stream. It begins when the first item is asked for.

    Args:
        handler: runs it.
        call: without the caller's stream of items.
        feed: that stream, None if the method takes none.
        home: the event loop of the mesh.

    Attributes:
        call: see above.
        pipe: has the items of the result.
        finished: set when everything has ended, also generators in their `finally`.
    """

    def __init__(self, handler: StreamHandler, call: Call, feed: Feed | None, home: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._feed = feed
        self._home = home
        self._task: asyncio.Task[Any] | None = None
        self.call = call
        self.pipe = Pipe()
        self.finished = threading.Event()

    def start(self) -> None:
        """Begin, on the loop of the mesh. The call inherits the context of the caller. Does nothing a second time."""
        if self._task is not None or not self.pipe.open:
            return
        task = self._task = self._home.create_task(caught(self._live), name=f"meshcore.stream {self.call.method}")
        task.add_done_callback(self._ended)
        owner = owning_call.get()
        if owner is not None:  # made by a thread whose call may be cancelled
            owner.tasks.add(task)
            task.add_done_callback(owner.tasks.discard)

    def start_feed(self) -> None:
        """Begin to read the caller's stream of items where the caller is, in another thread or on another loop."""
        if self._feed is not None and self._task is None:
            self._feed.start(self._home)

    async def receive_all(self) -> list[Any]:
        """The items that are there, at least one; empty after the last one. The first call begins the stream."""
        self.start()
        return await self.pipe.receive_all()

    async def _live(self) -> None:
        await run_call(self._handler, self.call, self.pipe.send, self._feed, self._home)

    def _ended(self, task: asyncio.Task[tuple[Any, BaseException | None]]) -> None:
        if not task.cancelled():
            error = task.result()[1]
        elif task.cancelling():
            error = _stopping(self.call)
        else:  # not this task was cancelled, but something that the implementation waited for
            error = LocalError(Code.CANCELED, f"{self.call.method}: what its implementation waited for was cancelled")
        self.pipe.end(error)
        self.finished.set()

    def abandon(self) -> None:
        """Let it end, on the loop of the mesh: its reader has left."""
        self.pipe.close()
        if self._task is not None:
            self._task.cancel()
            return
        self.finished.set()
        if self._feed is not None:
            self._feed.close()

    def abandon_soon(self) -> None:
        """The same from anywhere."""
        if not self.finished.is_set():
            with suppress(RuntimeError):  # the loop is closed, and everything on it has ended
                self._home.call_soon_threadsafe(self.abandon)

    async def close(self) -> None:
        """Let it end, and wait for that: generators have run their `finally` then."""
        self.abandon()
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait([self._task], timeout=_GRACE)


async def run_call(
    handler: StreamHandler, call: Call, send: SendItem, feed: Feed | None, home: asyncio.AbstractEventLoop
) -> Any:
    """Run a streaming call in the current task, and end the caller's stream of items with it.

    Args:
        handler: runs it.
        call: without that stream.
        send: gets the items of the result.
        feed: that stream, None if the method takes none.
        home: the event loop of the mesh.
    """
    if feed is None:
        return await handler(call, send)
    feed.start(home)
    try:
        return await handler(call.with_items(lambda _: feed.items), send)
    except BaseException as error:
        if feed.error is not None and failure_of(error) is not None:
            raise feed.error from None  # what the caller's own generator raised
        raise
    finally:
        await feed.stop()
