"""What a streaming method of a proxy returns: the items of the result, for `async for` and for `for`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Any, NoReturn

from meshcore.client.bridge import Bridge
from meshcore.client.streaming.run import StreamRun
from meshcore.core.errors import Code, LocalError
from meshcore.core.streaming.item_buffer import StreamClosedError
from meshcore.core.streaming.pipe import END

_GRACE = 5.0
"""Seconds that `BlockingItemStream.close` waits for the generator of the implementation."""


class ItemStream(AsyncGenerator[Any, None]):
    """The items of a result. The call begins when the first one is asked for.

    It ends when its last item was read, when `aclose` is called, when a wait for an item is cancelled, and when nobody
    has a reference to it any more, as after `break` in `async for item in service.watch()`.
    """

    _mesh_stream = True

    def __init__(self, run: StreamRun, bridge: Bridge) -> None:
        self._run = run
        self._bridge = bridge
        self._batch: list[Any] = []  # items for a caller on another loop, the next one last
        self._done = False
        self._cancelled = False

    async def __anext__(self) -> Any:
        """The next item.

        Raises:
            StopAsyncIteration: there is none.
            LocalError: CANCELED, an earlier wait for an item was cancelled.
            Exception: the error that the call ended with.
        """
        if self._done:
            if self._cancelled:
                raise _cancelled_error(self._run)
            raise StopAsyncIteration
        try:
            item = await (self._next_here() if self._bridge.is_here else self._next_there())
        except StreamClosedError:
            item = END
        except asyncio.CancelledError:
            # As an async generator, and a stream of gRPC: a task that is cancelled may be referred to for long, and
            # with it the stream, for which the server would work on.
            self._cancelled = True
            self._leave()
            raise
        except BaseException:
            self._done = True
            raise
        if item is END:
            self._done = True
            raise StopAsyncIteration
        return item

    async def _next_here(self) -> Any:
        self._run.start()
        return await self._run.pipe.receive()

    async def _next_there(self) -> Any:
        if not self._batch:
            self._run.start_feed()
            self._batch = await self._bridge.relay(self._run.call.method, self._run.receive_all)
            self._batch.reverse()
        return self._batch.pop() if self._batch else END

    async def asend(self, value: Any, /) -> Any:
        """As `anext()`, for None."""
        _refuse(value)
        return await self.__anext__()

    async def athrow(self, error: Any, value: Any = None, traceback: TracebackType | None = None, /) -> NoReturn:
        """Close the stream and raise the error: nothing can be thrown into a generator of another process."""
        await self.aclose()
        raise _made(error, value).with_traceback(traceback)

    async def aclose(self) -> None:
        """End the call. It returns when the implementation has run its `finally`, or after five seconds."""
        self._done = True
        self._batch.clear()
        if self._run.finished.is_set():
            return
        if self._bridge.is_here:
            await self._run.close()
        else:
            self._run.abandon_soon()

    def _leave(self) -> None:
        self._done = True
        self._run.abandon_soon()

    def __del__(self) -> None:
        """Let the call end."""
        self._run.abandon_soon()

    def __repr__(self) -> str:
        return f"<stream of {self._run.call.method}>"


class BlockingItemStream(Generator[Any, None, None]):
    """The same for code without an event loop: each `next()` blocks its thread until there is an item."""

    _mesh_stream = True

    def __init__(self, run: StreamRun, bridge: Bridge) -> None:
        self._run = run
        self._bridge = bridge
        self._batch: list[Any] = []  # the next one last
        self._done = False

    def __next__(self) -> Any:
        """The next item.

        Raises:
            StopIteration: there is none.
            LocalError: this thread runs an event loop, which must not be blocked.
            Exception: the error that the call ended with.
        """
        if not self._batch and not self._done:
            try:
                self._run.start_feed()
                # The items that are there at once: to go to the loop and back takes 0.1 to 0.15 ms.
                self._batch = self._bridge.run(self._run.call.method, self._run.receive_all())
            except StreamClosedError:
                self._batch = []
            except BaseException:
                self._done = True
                self._run.abandon_soon()
                raise
            self._batch.reverse()
            self._done = not self._batch
        if not self._batch:
            raise StopIteration
        return self._batch.pop()

    def send(self, value: Any, /) -> Any:
        """As `next()`, for None."""
        _refuse(value)
        return self.__next__()

    def throw(self, error: Any, value: Any = None, traceback: TracebackType | None = None, /) -> NoReturn:
        """Close the stream and raise the error."""
        self.close()
        raise _made(error, value).with_traceback(traceback)

    def close(self) -> None:
        """End the call. It returns when the implementation has run its `finally`, or after five seconds."""
        self._done = True
        self._batch.clear()
        self._run.abandon_soon()
        if asyncio._get_running_loop() is None and not self._bridge.loop.is_closed():  # noqa: SLF001
            self._run.finished.wait(_GRACE)

    def __del__(self) -> None:
        """Let the call end."""
        self._run.abandon_soon()

    def __repr__(self) -> str:
        return f"<stream of {self._run.call.method}>"


def _cancelled_error(run: StreamRun) -> LocalError:
    text = (
        "the stream has ended, because a wait for its next item was cancelled, as asyncio.timeout does; to wait for a "
    )
    text += (
        "while only, keep a task: asyncio.wait([task], timeout=1.0), where task = asyncio.create_task(anext(stream))"
    )
    return LocalError(Code.CANCELED, f"{run.call.method}: {text}")


def _made(error: Any, value: Any) -> BaseException:
    return error if isinstance(error, BaseException) else error(*(() if value is None else (value,)))


def _refuse(value: object) -> None:
    if value is not None:
        raise LocalError(Code.INVALID_ARGUMENT, "nothing can be sent into the stream of a result")
