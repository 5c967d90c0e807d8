"""Passes the items that a caller sends on to its call, from wherever the caller makes them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncIterable, Iterable
from concurrent.futures import Future
from typing import Any

from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError
from meshcore.core.streaming.item_buffer import StreamClosedError
from meshcore.core.streaming.pipe import Items, Pipe, wait_for_loop

_GRACE = 5.0
"""Seconds for the `finally` of a caller's generator, whose call has ended. It must not block the end of the call."""


class Feed:
    """The items of one call.

    An async iterator is read in a task of the loop on which the call is made, in the caller's context. Any other
    iterable is read in a thread, since it may block. A generator is closed when the call has ended.

    Args:
        method: that is called.
        source: the caller's items.

    Attributes:
        error: what the source raised, None if it raised nothing. The caller gets it from the call.

    Raises:
        LocalError: INVALID_ARGUMENT, the source has no items.
    """

    def __init__(self, method: Method, source: Any) -> None:
        if not isinstance(source, AsyncIterable | Iterable):
            name = next(parameter.name for parameter in method.parameters if parameter.stream)
            wanted = "AsyncIterator" if method.is_async else "Iterator"
            text = f"{method}: {name!r} is a stream: it takes an {wanted}, such as a generator, and got "
            raise LocalError(Code.INVALID_ARGUMENT, text + type(source).__name__)
        self._method = method
        self._source: Any = source
        self._pipe = Pipe()
        self._task: asyncio.Task[None] | None = None
        self._future: Future[None] | None = None
        self._home: asyncio.AbstractEventLoop | None = None
        self.error: BaseException | None = None

    @property
    def items(self) -> Items:
        """What the implementation reads."""
        return Items(self._pipe)

    def start(self, home: asyncio.AbstractEventLoop) -> None:
        """Begin to read the source.

        Args:
            home: the loop of the mesh, on which the items are needed.
        """
        if self._home is not None:  # the caller has started it on its own loop
            return
        self._home = home
        if not isinstance(self._source, AsyncIterable):
            context = contextvars.copy_context()
            # A daemon: nothing can stop an iterator that blocks, and the process must end nevertheless.
            name = f"meshcore-items {self._method}"
            threading.Thread(target=context.run, args=(self._read_in_thread,), name=name, daemon=True).start()
        elif (here := asyncio._get_running_loop()) is not None:  # noqa: SLF001 - get_running_loop() raises if none
            self._task = here.create_task(self._read(here), name=f"meshcore.items {self._method}")
        else:
            self._future = asyncio.run_coroutine_threadsafe(self._read(home), home)

    def close(self) -> None:
        """Refuse further items, so that the reading ends with the next one. On the loop of the mesh."""
        self._pipe.close()

    async def stop(self) -> None:
        """End the reading, on the loop of the mesh. Generators are closed."""
        self.close()
        if self._future is not None:
            self._future.cancel()
        task = self._task
        if task is None or task.done():
            return
        if task.get_loop() is self._home:
            task.cancel()
            await asyncio.wait([task], timeout=_GRACE)
        elif not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def _read(self, here: asyncio.AbstractEventLoop) -> None:
        home = self._home
        assert home is not None  # noqa: S101 - it was started
        try:
            async for item in self._source:
                if here is home:
                    await self._pipe.send(item)
                else:
                    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._pipe.send(item), home))
        except StreamClosedError:
            pass
        except asyncio.CancelledError as error:
            self._end(home, error)
            raise
        except BaseException as error:  # noqa: BLE001 - raised by the call
            self._end(home, error)
        else:
            self._end(home, None)
        finally:
            if inspect.isasyncgen(self._source) or hasattr(self._source, "_mesh_stream"):
                await self._source.aclose()

    def _read_in_thread(self) -> None:
        home = self._home
        assert home is not None  # noqa: S101 - it was started
        try:
            for item in self._source:
                wait_for_loop(home, self._pipe.send(item))
        except StreamClosedError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by the call
            self._end(home, error)
        else:
            self._end(home, None)
        finally:
            if inspect.isgenerator(self._source) or hasattr(self._source, "_mesh_stream"):
                self._source.close()

    def _end(self, home: asyncio.AbstractEventLoop, error: BaseException | None) -> None:
        reason = None
        if error is not None:
            self.error = error
            text = f"{self._method}: the caller's items ended with {type(error).__name__}"
            reason = LocalError(Code.CANCELED, text)
        if not home.is_closed():
            home.call_soon_threadsafe(self._pipe.end, reason)
