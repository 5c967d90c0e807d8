"""The two crossings between the event loop and threads. A crossing costs 0.1 to 0.15 ms.

Outwards, a `def` implementation runs in a worker thread. Inwards, a `def` proxy, called in a thread, runs its call on
the mesh's loop and blocks the thread. Context variables, the deadline and cancellation cross both.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any

from meshcore.call import Call, Handler, ambient_attempt, ambient_deadline
from meshcore.current import unbounded
from meshcore.errors import Code, LocalError


class _Visit:
    """A call that is being served in a worker thread, and the calls that it makes from there."""

    def __init__(self) -> None:
        self.closed = False
        self.tasks: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        """A thread cannot be stopped, but it can be kept from calling on: its caller has left."""
        self.closed = True
        for task in self.tasks:
            task.cancel()


_visit: ContextVar[_Visit | None] = ContextVar("_visit", default=None)


@contextmanager
def detached() -> Generator[None]:
    """Inside, calls do not belong to the call that this code serves: see `Mesh.detached`."""
    tokens = ambient_deadline.set(inf), ambient_attempt.set(1), _visit.set(None)
    try:
        with unbounded():
            yield
    finally:
        ambient_deadline.reset(tokens[0])
        ambient_attempt.reset(tokens[1])
        _visit.reset(tokens[2])


class Workers:
    """The threads in which `def` implementations run; their number bounds how many run at once."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="meshcore-worker")

    async def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call the function in a worker thread, in a copy of this context.

        A cancellation returns at once. The thread runs to its end, but calls that it makes through the mesh fail.
        """
        visit = _Visit()
        token = _visit.set(visit)
        try:
            context = contextvars.copy_context()
        finally:
            _visit.reset(token)
        loop = asyncio.get_running_loop()
        try:
            run = functools.partial(context.run, _without_stop_iteration, function, *arguments, **keywords)
            return await loop.run_in_executor(self._executor, run)
        except asyncio.CancelledError:
            visit.close()
            raise

    def close(self) -> None:
        """Give up what has not begun; what runs keeps its thread until it returns."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Bridge:
    """Runs calls of `def` proxies on the mesh's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        """The mesh has stopped: calls that go on fail, so that no thread waits for them, and so do new ones."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call on the mesh's loop and block this thread until it ends.

        Raises:
            LocalError: this thread runs an event loop, which must not be blocked, or the mesh has stopped.
        """
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the documented one raises when there is none
            raise LocalError(
                Code.FAILED_PRECONDITION,
                f"{call.method} is declared with def and would block this thread's running event loop: "
                "declare it with async def, or call it in a thread, e.g. await anyio.to_thread.run_sync(...)",
            )
        if self._closed:  # the loop may be neither closed nor running any more, and then would never answer
            raise _stopped(call)
        visit = _visit.get()
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        try:
            self._loop.call_soon_threadsafe(self._start, handler, call, future, visit, context)
        except RuntimeError as error:
            raise _stopped(call) from error
        try:
            return future.result()
        except BaseException:
            # KeyboardInterrupt in the waiting thread: nobody waits for the call any more.
            future.cancel()
            raise

    def _start(
        self, handler: Handler, call: Call, future: Future[Any], visit: _Visit | None, context: contextvars.Context
    ) -> None:
        if self._closed:
            _fail(future, _stopped(call))
            return
        if visit is not None and visit.closed:
            text = "the call that this call was made for has been cancelled"
            _fail(future, LocalError(Code.CANCELED, f"{call.method}: {text}"))
            return
        task = self._loop.create_task(_run(handler, call), context=context)
        for tasks in (self._tasks, visit.tasks) if visit is not None else (self._tasks,):
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda task: _hand_over(call, task, future))
        future.add_done_callback(lambda future: self._abandon(future, task))

    def _abandon(self, future: Future[Any], task: asyncio.Task[Any]) -> None:
        if future.cancelled() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(task.cancel)


async def _run(handler: Handler, call: Call) -> Any:
    return await handler(call)


def _hand_over(call: Call, task: asyncio.Task[Any], future: Future[Any]) -> None:
    error: BaseException | None
    if task.cancelled():
        error = LocalError(Code.CANCELED, f"{call.method} was cancelled: the mesh stops, or its caller left")
    else:
        error = task.exception()  # now it is seen, also if its caller has left
    if error is not None:
        _fail(future, error)
    elif future.set_running_or_notify_cancel():  # the thread may be leaving at this very moment
        future.set_result(task.result())


def _fail(future: Future[Any], error: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _stopped(call: Call) -> LocalError:
    return LocalError(Code.FAILED_PRECONDITION, f"{call.method} was called, but the mesh has stopped")


def _without_stop_iteration(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Call it. Python 3.11 waits forever for a thread that raises StopIteration, which no future can carry."""
    try:
        return function(*arguments, **keywords)
    except StopIteration as error:
        raise RuntimeError(f"{getattr(function, '__qualname__', function)} raised StopIteration") from error
