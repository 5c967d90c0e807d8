"""Moves calls between the event loop and threads. Each move costs 0.1 to 0.15 ms.

`Bridge` runs a call of a `def` proxy on the mesh's loop and blocks the calling thread. `server/worker_threads.py` runs
`def` implementations in threads. Context variables, deadlines and cancellation work across both.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any

from meshcore.core.call import Call, Handler, ambient_attempt, ambient_deadline
from meshcore.core.current_call import unbounded
from meshcore.core.errors import Code, LocalError


class ThreadCall:
    """A call that is served in a worker thread, with the calls that its implementation makes.

    Args:
        parent: the call in a worker thread that waits for this one, None if there is none.

    Attributes:
        parent: see above.
        depth: the number of calls in worker threads that wait for this one.
        ended: whether its thread has ended.
    """

    def __init__(self, parent: ThreadCall | None) -> None:
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.ended = False
        self.cancelled = False
        self.tasks: set[asyncio.Task[Any]] = set()

    def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call the function in the worker thread.

        A StopIteration is replaced: no future can carry it, and Python 3.11 would wait for the future for ever.
        """
        try:
            return function(*arguments, **keywords)
        except StopIteration as error:
            raise RuntimeError(f"{getattr(function, '__qualname__', function)} raised StopIteration") from error
        finally:
            self.ended = True

    def cancel(self) -> None:
        """Cancel the calls that the thread makes, now and later. The thread itself cannot be stopped."""
        self.cancelled = True
        for task in self.tasks:
            task.cancel()


# The call in a worker thread that the current code belongs to. Cancelling it cancels the calls that this code makes.
owning_call: ContextVar[ThreadCall | None] = ContextVar("owning_call", default=None)

# The call in a worker thread that may wait for the current code. Detached code has no owner, but a thread may still
# wait for it.
waiting_call: ContextVar[ThreadCall | None] = ContextVar("waiting_call", default=None)


@contextmanager
def detached() -> Generator[None]:
    """Within the context, calls do not belong to the call that the current code serves: see `Mesh.detached`."""
    tokens = ambient_deadline.set(inf), ambient_attempt.set(1), owning_call.set(None)
    try:
        with unbounded():
            yield
    finally:
        ambient_deadline.reset(tokens[0])
        ambient_attempt.reset(tokens[1])
        owning_call.reset(tokens[2])


class Bridge:
    """Runs calls of `def` proxies on the mesh's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pid = os.getpid()
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        """Fail running and new calls, so that no thread waits for a mesh that has stopped."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call on the mesh's loop and block this thread until it ends.

        Raises:
            LocalError: this thread runs an event loop, which must not be blocked; the mesh has stopped; or it runs in
                the process that this one was forked from.
        """
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - get_running_loop() raises if there is none
            raise LocalError(
                Code.FAILED_PRECONDITION,
                f"{call.method} is declared with def and would block this thread's running event loop: "
                "declare it with async def, or call it in a thread, e.g. await anyio.to_thread.run_sync(...)",
            )
        if self._pid != os.getpid():  # the thread of the loop is in the parent, so the future would never be done
            raise forked_error(f"{call.method} was called", self._pid)
        if self._closed:  # the loop may have stopped without being closed; then the future would never be done
            raise _stopped(call)
        owner = owning_call.get()
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        try:
            self._loop.call_soon_threadsafe(self._start, handler, call, future, owner, context)
        except RuntimeError as error:
            raise _stopped(call) from error
        try:
            return future.result()
        except BaseException:
            # KeyboardInterrupt in the waiting thread: the call is not needed any more.
            future.cancel()
            raise

    def _start(
        self, handler: Handler, call: Call, future: Future[Any], owner: ThreadCall | None, context: contextvars.Context
    ) -> None:
        if self._closed:
            _fail(future, _stopped(call))
            return
        if owner is not None and owner.cancelled:
            text = "the call that this call was made for has been cancelled"
            _fail(future, LocalError(Code.CANCELED, f"{call.method}: {text}"))
            return
        task = self._loop.create_task(caught(handler, call), context=context)
        for tasks in (self._tasks, owner.tasks) if owner is not None else (self._tasks,):
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda task: _hand_over(call, task, future))
        future.add_done_callback(lambda future: self._abandon(future, task))

    def _abandon(self, future: Future[Any], task: asyncio.Task[Any]) -> None:
        if future.cancelled() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(task.cancel)


async def awaited(result: Any) -> Any:
    """The result of a function that may be `def` or `async def`."""
    return await result if inspect.isawaitable(result) else result


async def caught(function: Callable[..., Any], *arguments: Any) -> tuple[Any, BaseException | None]:
    """The result of a function, or its error. A `SystemExit` must end the thread that called, not that of the loop."""
    try:
        return await awaited(function(*arguments)), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - raised in the thread
        return None, error


def _hand_over(call: Call, task: asyncio.Task[Any], future: Future[Any]) -> None:
    if task.cancelled():
        _fail(future, LocalError(Code.CANCELED, f"{call.method} was cancelled: the mesh stops, or its caller left"))
        return
    result, error = task.result()
    if error is not None:
        _fail(future, error)
    elif future.set_running_or_notify_cancel():  # the thread may give up at this moment
        future.set_result(result)


def _fail(future: Future[Any], error: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def forked_error(what: str, pid: int) -> LocalError:
    """The error of a process that uses the mesh of the process that it was forked from.

    Args:
        what: what it did.
        pid: the other process.
    """
    text = f"{what} in process {os.getpid()}, but its mesh runs in process {pid}, which forked this one"
    return LocalError(Code.FAILED_PRECONDITION, f"{text}: make a mesh after the fork, such as at its first use")


def _stopped(call: Call) -> LocalError:
    return LocalError(Code.FAILED_PRECONDITION, f"{call.method} was called, but the mesh has stopped")
