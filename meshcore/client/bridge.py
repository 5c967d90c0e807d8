"""Brings calls that are made elsewhere to the event loop of the mesh: from threads, and from other event loops.

Each way costs 0.1 to 0.15 ms. Context variables, deadlines and cancellation work across it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from meshcore.core.call import Call, Handler
from meshcore.core.context.threads import ThreadCall, caught, forked_error, owning_call
from meshcore.core.errors import Code, LocalError

T = TypeVar("T")

LOOP_ENDED = (
    "the event loop on which it was started has ended; start, call and stop it within one asyncio.run(), or use "
    "BlockingMesh, whose loop runs in a thread of its own"
)
"""Why a mesh has stopped though nobody stopped it, and what to do."""


class _Errand:
    """Something that the mesh's loop runs for another thread or loop.

    Args:
        what: for error texts: what was called.
        run: makes what is awaited.

    Attributes:
        future: gets the outcome.
        owner: the call in a worker thread that it is done for, None if there is none.
        context: of the caller.
    """

    def __init__(self, what: object, run: Callable[[], Awaitable[Any]]) -> None:
        self.what = what
        self.run = run
        self.future: Future[Any] = Future()
        self.owner: ThreadCall | None = owning_call.get()
        self.context = contextvars.copy_context()
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        """Decide whether it is begun: by the loop, which then runs it, or by the caller, who then gives it up.

        The first one gets True. So what a caller has given up is certainly never begun.
        """
        return self._claimed.acquire(blocking=False)

    def fail(self, error: BaseException) -> None:
        """Let the caller get the error."""
        if self.future.set_running_or_notify_cancel():  # the caller may give up at this moment
            self.future.set_exception(error)

    def end(self, task: asyncio.Task[tuple[Any, BaseException | None]]) -> None:
        """Let the caller get what the task ended with."""
        if task.cancelled():
            text = f"{self.what} was cancelled: the mesh stops, or its caller left"
            self.fail(LocalError(Code.CANCELED, text))
            return
        result, error = task.result()
        if error is not None:
            self.fail(error)
        elif self.future.set_running_or_notify_cancel():
            self.future.set_result(result)


class _Runner:
    """Tells which thread runs a loop that does not tell it itself, as uvloop's: the one in which this was made."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()

    @property
    def _thread_id(self) -> int | None:
        return self._thread if self._loop.is_running() else None


class Bridge:
    """Runs on the mesh's loop what other threads and loops call.

    Args:
        loop: of the mesh.
        patience: the seconds within which the loop must begin with a call. It begins at once unless it is blocked. It
            may be blocked because it waits for the very thread that calls.

    Attributes:
        loop: see above.
        ended: whether the mesh was stopped because its loop has ended.
        runner: its `_thread_id` is the thread that runs the loop, None while that does not run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float = 10.0) -> None:
        self.loop = loop
        self.ended = False
        self.runner: Any = loop if hasattr(loop, "_thread_id") else _Runner(loop)
        self._pid = os.getpid()
        self._patience = patience
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_here(self) -> bool:
        """Whether the current code runs on the mesh's loop."""
        return asyncio._get_running_loop() is self.loop  # noqa: SLF001 - get_running_loop() raises if there is none

    def close(self) -> None:
        """Fail running and new calls, so that nobody waits for a mesh that has stopped."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call of a `def` proxy on the mesh's loop, and block this thread until it ends.

        Raises:
            LocalError: this thread runs an event loop, which must not be blocked, the mesh has stopped, or its loop
                does not run.
        """
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - get_running_loop() raises if there is none
            method = call.method
            raise (
                _would_block(f"blocking({method})", f"await {method}(...) itself")
                if method.is_async
                else _would_block(
                    f"{method} is declared with def and",
                    f"await awaitable({method})(...), declare it with async def, or call it in a thread, "
                    "e.g. await anyio.to_thread.run_sync(...)",
                )
            )
        return self._block(call.method, partial(handler, call))

    def run(self, what: object, given: Awaitable[T]) -> T:
        """Await something on the mesh's loop, and block this thread until it ends.

        Args:
            what: for error texts: what was called.
            given: is awaited.

        Raises:
            LocalError: this thread runs an event loop, which must not be blocked, the mesh has stopped, or its loop
                does not run.
        """
        try:
            if asyncio._get_running_loop() is not None:  # noqa: SLF001
                raise _would_block(what, "await it there")
            return self._block(what, lambda: given)
        finally:
            discard(given)

    def _block(self, what: object, run: Callable[[], Awaitable[T]]) -> T:
        errand = _Errand(what, run)
        future: Future[T] = errand.future
        try:
            self._send(errand)
            try:
                return future.result(self._patience)
            except TimeoutError:  # ours, or the call's own
                if not future.done() and errand.claim():
                    raise self._not_begun(what) from None
                return future.result()
        except BaseException:
            # KeyboardInterrupt in the waiting thread: the call is not needed any more. It may also come in _send(),
            # after the loop got the errand.
            future.cancel()
            raise

    async def hand_over(self, handler: Handler, call: Call) -> Any:
        """Run the call of an `async def` proxy on the mesh's loop, and await its end on the loop of the caller.

        Raises:
            LocalError: no event loop of asyncio awaits it, the mesh has stopped, or its loop does not run.
        """
        return await self.relay(call.method, partial(handler, call))

    async def relay(self, what: object, run: Callable[[], Awaitable[T]]) -> T:
        """Run something on the mesh's loop, and await its end on the loop of the caller, which may be that one.

        Args:
            what: for error texts: what was called.
            run: makes what is awaited.

        Raises:
            LocalError: no event loop of asyncio awaits it, the mesh has stopped, or its loop does not run.
        """
        if self.is_here:
            return await run()
        self._check_process(what)
        if asyncio._get_running_loop() is None:  # noqa: SLF001
            text = f"{what} is awaited without a running event loop of asyncio: await it in code that asyncio runs"
            raise LocalError(Code.FAILED_PRECONDITION, text)
        errand = _Errand(what, run)
        self._send(errand)
        outcome: asyncio.Future[T] = asyncio.wrap_future(errand.future)
        try:
            await asyncio.wait([outcome], timeout=self._patience)
            if outcome.done() or not errand.claim():
                return await outcome
        except BaseException:
            outcome.cancel()
            raise
        outcome.cancel()
        raise self._not_begun(what)

    def at_once(self, what: object, function: Callable[[], T]) -> T:
        """Call a function that does not wait on the mesh's loop. Another thread is blocked meanwhile.

        Args:
            what: for error texts: what was called.
            function: is called.

        Raises:
            LocalError: the mesh has stopped, or its loop does not run.
        """
        if self.is_here:
            return function()

        async def run() -> T:
            return function()

        return self._block(what, run)

    def _check_process(self, what: object) -> None:
        if self._pid != os.getpid():  # the thread of the loop is in the parent, so nothing would ever be done
            raise forked_error(f"{what} was called", self._pid)

    def _send(self, errand: _Errand) -> None:
        what = errand.what
        self._check_process(what)
        if self._closed:
            raise self.stopped(what)
        if not self.loop.is_running():  # nothing would ever begin, and the caller would wait for ever
            raise LocalError(
                Code.FAILED_PRECONDITION,
                f"{what} was called, but the event loop on which the mesh was started does not run: call it while that "
                "loop runs, or use BlockingMesh, whose loop runs in a thread of its own",
            )
        try:
            self.loop.call_soon_threadsafe(self._begin, errand)
        except RuntimeError as error:  # the loop has been closed at this moment
            raise self.stopped(what) from error

    def _begin(self, errand: _Errand) -> None:
        if not errand.claim() or errand.future.cancelled():  # the caller does not wait any more
            return
        owner = errand.owner
        if self._closed:
            errand.fail(self.stopped(errand.what))
            return
        if owner is not None and owner.cancelled:
            text = "the call that this call was made for has been cancelled"
            errand.fail(LocalError(Code.CANCELED, f"{errand.what}: {text}"))
            return
        task = self.loop.create_task(caught(errand.run), context=errand.context)
        for tasks in (self._tasks, owner.tasks) if owner is not None else (self._tasks,):
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        task.add_done_callback(errand.end)
        errand.future.add_done_callback(lambda future: self._abandon(future, task))

    def _abandon(self, future: Future[Any], task: asyncio.Task[Any]) -> None:
        if future.cancelled() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(task.cancel)

    def stopped(self, what: object) -> LocalError:
        """The error of what is called after the end of the mesh."""
        reason = f": {LOOP_ENDED}" if self.ended else ""
        return LocalError(Code.FAILED_PRECONDITION, f"{what} was called, but the mesh has stopped{reason}")

    def _not_begun(self, what: object) -> LocalError:
        return LocalError(
            Code.DEADLINE_EXCEEDED,
            f"{what} was called from another thread, and the mesh's event loop has not begun with it within "
            f"{self._patience:.3g} s: something blocks that loop; it must not wait for the thread that calls",
        )


def discard(given: object) -> None:
    """Close a coroutine if it was refused and never begun: Python would warn that it was never awaited."""
    if inspect.iscoroutine(given) and inspect.getcoroutinestate(given) == inspect.CORO_CREATED:
        given.close()


def _would_block(what: object, mend: str) -> LocalError:
    text = f"{what} would block this thread's running event loop: {mend}"
    return LocalError(Code.FAILED_PRECONDITION, text)
