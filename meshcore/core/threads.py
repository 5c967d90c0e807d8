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

from meshcore.core.call import Call, Handler, ambient_attempt, ambient_deadline
from meshcore.core.current import unbounded
from meshcore.core.errors import Code, LocalError

_DEEPEST = 32
"""How many worker threads may wait for each other. What goes deeper is hardly anything but endless recursion."""


class _Visit:
    """A call that is being served in a worker thread, and the calls that it makes from there.

    Args:
        above: the call in a worker thread that this one is made for, and that keeps its thread meanwhile.

    Attributes:
        above: see there.
        depth: how many there are above.
        over: whether its thread has come to its end.
    """

    def __init__(self, above: _Visit | None) -> None:
        self.above = above
        self.depth: int = above.depth + 1 if above is not None else 0
        self.over = False
        self.closed = False
        self.tasks: set[asyncio.Task[Any]] = set()

    def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call it, in the worker thread. Python 3.11 waits forever for a StopIteration, which no future can carry."""
        try:
            return function(*arguments, **keywords)
        except StopIteration as error:
            raise RuntimeError(f"{getattr(function, '__qualname__', function)} raised StopIteration") from error
        finally:
            self.over = True

    def close(self) -> None:
        """A thread cannot be stopped, but it can be kept from calling on: its caller has left."""
        self.closed = True
        for task in self.tasks:
            task.cancel()


_visit: ContextVar[_Visit | None] = ContextVar("_visit", default=None)

# The same, also in what is detached: that belongs to no call, but a thread may wait for it all the same.
_thread: ContextVar[_Visit | None] = ContextVar("_thread", default=None)


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
    """The threads in which `def` implementations run.

    A thread that calls another `def` implementation of this process waits for that one's thread. Out of one bounded set
    all of them could wait, and none would be left to be waited for. So there is a set for each depth, made when it is
    needed: a call waits only for calls that are deeper, and the deepest waits for none.

    Args:
        threads: how many calls run at once, of those that are equally deep.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._executors: list[ThreadPoolExecutor] = []
        self._closed = False

    async def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call the function in a worker thread, in a copy of this context.

        A cancellation returns at once. The thread runs to its end, but calls that it makes through the mesh fail.

        Raises:
            LocalError: RESOURCE_EXHAUSTED, too many threads wait for this call.
        """
        above = _thread.get()
        while above is not None and above.over:  # what it has started goes on, but no thread waits for that
            above = above.above
        visit = _Visit(above)
        executor = self._executor(visit.depth)
        tokens = _visit.set(visit), _thread.set(visit)
        try:
            context = contextvars.copy_context()
        finally:
            _visit.reset(tokens[0])
            _thread.reset(tokens[1])
        loop = asyncio.get_running_loop()
        try:
            run = functools.partial(context.run, visit.run, function, *arguments, **keywords)
            return await loop.run_in_executor(executor, run)
        except asyncio.CancelledError:
            visit.close()
            raise

    def _executor(self, depth: int) -> ThreadPoolExecutor:
        if depth > _DEEPEST:
            text = f"{depth} calls of def implementations wait for each other in this process, each in a thread"
            raise LocalError(Code.RESOURCE_EXHAUSTED, text)
        if self._closed:
            raise LocalError(Code.FAILED_PRECONDITION, "the mesh has stopped")
        while len(self._executors) <= depth:
            name = f"meshcore-worker-{len(self._executors)}"
            self._executors.append(ThreadPoolExecutor(self._threads, thread_name_prefix=name))
        return self._executors[depth]

    def close(self) -> None:
        """Give up what has not begun; what runs keeps its thread until it returns."""
        self._closed = True
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)


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
