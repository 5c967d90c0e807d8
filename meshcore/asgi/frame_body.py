"""The body of a request that is a sequence of frames: the call, and the items of its stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from meshcore.asgi.messages import ClientLeft, Receive, discard_body, read_body
from meshcore.codec.errors import DecodeError
from meshcore.core.errors import Code, MeshError
from meshcore.core.streaming.pipe import wait_for_loop
from meshcore.server.request import BodyError
from meshcore.telemetry.calls import Calls
from meshcore.wire.streaming.streamed_bodies import FrameReader, FrameTooLargeError

_TOO_LARGE = 413


class FrameBody:
    """Reads frames from ASGI, and no further than they are asked for: so a slow reader slows its writer.

    Args:
        receive: of ASGI.
        reader: splits the body.
        limit: the bytes of a frame, for the text of an error.
    """

    def __init__(self, receive: Receive, reader: FrameReader, limit: int) -> None:
        self._receive = receive
        self._reader = reader
        self._limit = limit
        self._frames: deque[bytes] = deque()
        self._ended = False
        self._read = asyncio.Event()  # set when nothing reads the body any more
        self._gone = asyncio.Event()
        self._readers: set[asyncio.Task[Any]] = set()

    async def next(self) -> bytes | None:
        """The next frame, None after the last one.

        Raises:
            ClientLeft: the connection broke.
            BodyError: a frame is too large.
            MeshError: INVALID_ARGUMENT, the body ends within a frame.
        """
        while not self._frames:
            if self._ended:
                self._read.set()
                return None
            message = await self._receive()
            if message["type"] != "http.request":
                self._ended = True
                self._read.set()
                raise ClientLeft
            try:
                self._frames += self._reader.feed(message.get("body", b""))
                if not message.get("more_body"):
                    self._ended = True
                    self._frames += self._reader.end()
            except FrameTooLargeError:
                text = f"a call or an item is larger than {self._limit} bytes (setting max_body)"
                raise BodyError(_TOO_LARGE, Code.RESOURCE_EXHAUSTED, text) from None
            except DecodeError as error:
                raise MeshError(Code.INVALID_ARGUMENT, error.reason) from error
        return self._frames.popleft()

    async def skip(self) -> None:
        """Read the rest, of which nothing is needed. Else the answer would come before the end of the request.

        Raises:
            ClientLeft: the connection broke.
            MeshError: INVALID_ARGUMENT, the body ends within a frame.
        """
        while await self.next() is not None:
            pass

    async def whole(self, length: int | None) -> bytes:
        """All of a body that is no sequence of frames.

        Args:
            length: how many bytes it has, None if that is not known.

        Raises:
            ClientLeft: the connection broke.
            BodyError: it is larger than the limit.
        """
        self._ended = True  # also if it is too large: then enough of it was read
        return await read_body(self._receive, self._limit, length)

    async def left(self) -> None:
        """Return when the client is gone, as `watch` has found."""
        await self._gone.wait()

    async def watch(self, stop: Callable[[], object]) -> None:
        """Call a function when the client is gone. While the body is read, that is found by whoever reads it.

        A server looks after its other requests every few hundredths of a second. A stream would write into a connection
        that is closed meanwhile.
        """
        await self._read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        stop()

    async def discard(self) -> None:
        """Take what the caller still sends, for a bounded time, so that it reads an answer that came before the end."""
        if not self._ended:
            await discard_body(self._receive, None)

    @property
    def ended(self) -> bool:
        """Whether all of it has come."""
        return self._ended

    def done(self) -> None:
        """Record that no frame will be read any more. Threads that wait for one are woken."""
        self._read.set()
        for task in self._readers:
            task.cancel()

    async def next_for_thread(self) -> bytes | None:
        """`next` for a thread, which `done` wakes."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a thread's call runs in a task
        self._readers.add(task)
        try:
            return await self.next()
        finally:
            self._readers.discard(task)


class BodyItems(AsyncIterator[Any]):
    """The items of a caller's stream, as the implementation reads them.

    Args:
        body: has their frames.
        decode: reads one.

    Attributes:
        calls: counts them.
    """

    calls = Calls("", "")

    def __init__(self, body: FrameBody, decode: Callable[[bytes], Any]) -> None:
        self._body = body
        self._decode = decode

    async def __anext__(self) -> Any:
        frame = await _frame(self._body.next())
        if frame is None:
            raise StopAsyncIteration
        self.calls.received += 1
        return self._decode(frame)

    def blocking(self, loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
        """The same for a thread."""
        while (frame := wait_for_loop(loop, _frame(self._body.next_for_thread()))) is not None:
            self.calls.received += 1
            yield self._decode(frame)


async def _frame(coming: Awaitable[bytes | None]) -> bytes | None:
    """The next frame, for an implementation, which has begun: so the call was processed, whatever is wrong with it."""
    try:
        return await coming
    except ClientLeft:
        raise MeshError(Code.CANCELED, "the caller's items ended before their end: it has left") from None
    except BodyError as error:
        raise MeshError(error.code, error.message, retryable=False) from error
