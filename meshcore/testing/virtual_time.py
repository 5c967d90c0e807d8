"""An event loop with virtual time: waits take no real time, and each run is the same."""

from __future__ import annotations

import asyncio
import concurrent.futures
import selectors
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """When all tasks wait, the clock of this loop jumps to the next timer.

    It is for code that waits for timers and other tasks only. Events from outside, such as of a socket, are handled
    when they come, but the loop does not wait for them. It does wait while threads work for it (`def` implementations,
    `run_in_executor`, anyio's `to_thread`). Their work takes no virtual time, unless it takes longer than the next
    timer.

    While the loop runs, `time.monotonic` returns its time, too: the mesh measures deadlines and durations with it. So
    no other thread that needs the real time may run meanwhile.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._jobs: list[tuple[concurrent.futures.Future[Any], asyncio.Future[Any]]] = []
        self._joining = False
        super().__init__(_Selector(self))
        self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="virtual"))

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._now

    def run_forever(self) -> None:
        """Run until stopped. All other methods that run the loop call this one."""
        monotonic = time.monotonic
        setattr(time, "monotonic", self.time)  # noqa: B010 - type checkers refuse the assignment
        try:
            super().run_forever()
        finally:
            setattr(time, "monotonic", monotonic)  # noqa: B010

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """Set the executor of jobs that name none."""
        self._executor = executor
        super().set_default_executor(executor)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run a function in a thread. Time stands still until it ends."""
        source = (executor or self._executor).submit(func, *args)
        future = asyncio.wrap_future(source, loop=self)
        self._jobs.append((source, future))
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        """Wait for the threads. Time stands still meanwhile."""
        self._joining = True
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._joining = False

    def threads_work(self) -> bool:
        """Return whether a thread works for this loop."""
        # The thread of a cancelled job may still run, and the result of a finished one may not have reached the loop.
        self._jobs = [job for job in self._jobs if not (job[0].done() and job[1].done())]
        return self._joining or bool(self._jobs) or any(map(self._is_busy, threading.enumerate()))

    def _is_busy(self, thread: Any) -> bool:
        """Return whether a thread is one of anyio's that works for this loop. anyio has no public API for that."""
        idle = getattr(thread, "idle_workers", None)
        return idle is not None and thread.loop is self and not thread.stopping and thread not in idle

    def advance(self, seconds: float) -> None:
        """Advance the time."""
        self._now += seconds


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if self._loop.threads_work():
                events = super().select(timeout)
                if events:
                    return events
            if timeout is None:
                raise RuntimeError("all tasks wait, and no timer will wake one: this would hang for ever")
            self._loop.advance(max(timeout, 0.0))
        return events


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time.

    Raises:
        RuntimeError: all tasks wait, and nothing can wake one.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
