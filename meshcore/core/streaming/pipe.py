"""The pipe of a stream: an `ItemBuffer` whose writer and reader wait for each other on one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Final, TypeVar

from meshcore.core.streaming.item_buffer import Flow, ItemBuffer, StreamClosedError

T = TypeVar("T")

BUFFERED = 16
"""Items that a writer is ahead of its reader at most. Enough to spare a switch of tasks for most items."""


class _End:
    """The type of `END`."""

    def __repr__(self) -> str:
        return "END"


END: Final = _End()
"""What `Pipe.receive` returns after the last item."""


class Pipe:
    """Passes items from a writer to a reader, which may be tasks of their own.

    Args:
        limit: of the items that wait in it.
    """

    def __init__(self, limit: int = BUFFERED) -> None:
        self._buffer = ItemBuffer(limit)
        self._reader: asyncio.Future[None] | None = None
        self._writers: deque[asyncio.Future[None]] = deque()

    @property
    def open(self) -> bool:
        """Whether items may be written."""
        return self._buffer.state is Flow.OPEN

    @property
    def awaited(self) -> bool:
        """Whether a reader waits for an item."""
        return self._reader is not None

    async def send(self, item: Any) -> None:
        """Write an item. Waits while the reader is behind.

        Raises:
            StreamClosedError: the reader has left, or the stream has ended.
        """
        buffer = self._buffer
        while buffer.full:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._writers.append(waiting)
            try:
                await waiting
            finally:
                if waiting in self._writers:
                    self._writers.remove(waiting)
        self.put(item)

    def put(self, item: Any) -> None:
        """Write an item, whatever the limit: for a writer that is bounded in another way.

        Raises:
            StreamClosedError: the reader has left, or the stream has ended.
        """
        self._buffer.put(item)
        self._wake_reader()

    def end(self, error: BaseException | None = None) -> None:
        """End the stream. The reader gets the items that are left, and then the error, if there is one."""
        self._buffer.end(error)
        self._wake_reader()
        self._wake_writers()

    def close(self) -> None:
        """Leave the stream: what is left is dropped. Whoever waits here gets a `StreamClosedError`."""
        self._buffer.close()
        self._wake_reader()
        self._wake_writers()

    async def receive(self) -> Any:
        """The next item, `END` after the last one.

        Raises:
            StreamClosedError: the stream was closed.
            BaseException: the error that it ended with, once.
        """
        await self._readable()
        if not len(self._buffer):
            return self._ended()
        item = self._buffer.take()
        self._after_take()
        return item

    async def receive_all(self) -> list[Any]:
        """The items that are there, at least one. Empty after the last one.

        Raises:
            StreamClosedError: the stream was closed.
            BaseException: the error that it ended with, once.
        """
        await self._readable()
        items = self._buffer.take_all()
        if not items:
            self._ended()
        self._after_take()
        return items

    async def _readable(self) -> None:
        while not self._buffer.readable:
            if self._reader is not None:
                raise RuntimeError("the stream is being read already: one task at a time may read it")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def _ended(self) -> _End:
        if self._buffer.state is Flow.CLOSED:
            raise StreamClosedError("the stream is closed")
        error = self._buffer.take_error()
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame
        return END

    def _after_take(self) -> None:
        if self._writers and self._buffer.low:
            self._wake_writers()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _wake_writers(self) -> None:
        while self._writers:
            writer = self._writers.popleft()
            if not writer.done():
                writer.set_result(None)


class Items(AsyncIterator[Any]):
    """The items of a caller, as its implementation reads them.

    Args:
        pipe: has them.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def __anext__(self) -> Any:
        item = await self._pipe.receive()
        if item is END:
            raise StopAsyncIteration
        return item

    def blocking(self, loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
        """The same for a thread.

        Args:
            loop: on which they come.
        """
        while items := wait_for_loop(loop, self._pipe.receive_all()):
            yield from items


def wait_for_loop(loop: asyncio.AbstractEventLoop, waiting: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop, and block this thread until it ends.

    Raises:
        StreamClosedError: the loop is closed.
    """
    try:
        future = asyncio.run_coroutine_threadsafe(waiting, loop)
    except RuntimeError as error:
        waiting.close()
        raise StreamClosedError("the event loop of the stream is closed") from error
    return future.result()
