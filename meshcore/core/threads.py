"""Runs `def` implementations in worker threads. Each move to a thread and back costs 0.1 to 0.15 ms.

Context variables, deadlines and cancellation work across it. The way back, for the calls that a thread makes, is the
bridge of the mesh.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any

from meshcore.core.call import ambient_attempt, ambient_deadline
from meshcore.core.current_call import unbounded
from meshcore.core.errors import Code, LocalError

_MAX_DEPTH = 32
"""How many worker threads may wait for each other. Deeper nesting is almost certainly endless recursion."""


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
_owner: ContextVar[ThreadCall | None] = ContextVar("_owner", default=None)

# The call in a worker thread that may wait for the current code. Detached code has no owner, but a thread may still
# wait for it.
_waiting: ContextVar[ThreadCall | None] = ContextVar("_waiting", default=None)


def thread_call() -> ThreadCall | None:
    """The call in a worker thread that the current code belongs to, None if there is none."""
    return _owner.get()


@contextmanager
def detached() -> Generator[None]:
    """Within the context, calls do not belong to the call that the current code serves: see `Mesh.detached`."""
    tokens = ambient_deadline.set(inf), ambient_attempt.set(1), _owner.set(None)
    try:
        with unbounded():
            yield
    finally:
        ambient_deadline.reset(tokens[0])
        ambient_attempt.reset(tokens[1])
        _owner.reset(tokens[2])


class Workers:
    """The worker threads of `def` implementations.

    An implementation that calls another `def` implementation of this process waits for that one's thread. With a single
    bounded pool all threads could wait for each other. So each depth of nesting has a pool of its own, made on demand:
    a thread waits only for threads of deeper pools.

    Args:
        threads: the size of each pool.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._executors: list[ThreadPoolExecutor] = []
        self._closed = False

    async def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call the function in a worker thread, in a copy of this context.

        A cancellation takes effect at once. The thread runs on, but the calls that it makes through the mesh fail.

        Raises:
            LocalError: RESOURCE_EXHAUSTED, too many threads wait for this call.
        """
        parent = _waiting.get()
        while parent is not None and parent.ended:  # code that it started runs on, but its thread does not wait for it
            parent = parent.parent
        thread_call = ThreadCall(parent)
        executor = self._executor(thread_call.depth)
        tokens = _owner.set(thread_call), _waiting.set(thread_call)
        try:
            context = contextvars.copy_context()
        finally:
            _owner.reset(tokens[0])
            _waiting.reset(tokens[1])
        loop = asyncio.get_running_loop()
        try:
            run = functools.partial(context.run, thread_call.run, function, *arguments, **keywords)
            return await loop.run_in_executor(executor, run)
        except asyncio.CancelledError:
            thread_call.cancel()
            raise

    def _executor(self, depth: int) -> ThreadPoolExecutor:
        if depth > _MAX_DEPTH:
            text = f"{depth} calls of def implementations wait for each other in this process, each in a thread"
            raise LocalError(Code.RESOURCE_EXHAUSTED, text)
        if self._closed:
            raise LocalError(Code.FAILED_PRECONDITION, "the mesh has stopped")
        while len(self._executors) <= depth:
            name = f"meshcore-worker-{len(self._executors)}"
            self._executors.append(ThreadPoolExecutor(self._threads, thread_name_prefix=name))
        return self._executors[depth]

    def close(self) -> None:
        """Cancel calls that have not begun. A running one keeps its thread until it returns."""
        self._closed = True
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)


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


def forked_error(what: str, pid: int) -> LocalError:
    """The error of a process that uses the mesh of the process that it was forked from.

    Args:
        what: what it did.
        pid: the other process.
    """
    text = f"{what} in process {os.getpid()}, but its mesh runs in process {pid}, which forked this one"
    return LocalError(Code.FAILED_PRECONDITION, f"{text}: make a mesh after the fork, such as at its first use")
