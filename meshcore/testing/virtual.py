"""An event loop whose time is virtual: waiting takes none, and the same run takes the same course every time."""

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
    """Where others sleep until the next timer, this loop's clock jumps to it.

    It is for code that waits for timers and for each other only. What comes from outside, such as from a socket, is
    handled when it comes, but nobody waits for it. While threads work for the loop (`def` implementations,
    `run_in_executor`, anyio's `to_thread`) it does wait: what they do takes no virtual time, unless it takes longer
    than the next timer, and a thread that waits for the loop's timers waits as long as they say.

    While it runs, `time.monotonic` is its clock as well: deadlines, and all else that the mesh measures, are told by
    that. So nothing else that needs the time may go on meanwhile in other threads.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._jobs: list[tuple[concurrent.futures.Future[Any], asyncio.Future[Any]]] = []
        self._joining = False
        super().__init__(_Selector(self))
        self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="virtual"))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def run_forever(self) -> None:
        """Run until stopped; every other way to run a loop comes by here."""
        monotonic = time.monotonic
        setattr(time, "monotonic", self.time)  # noqa: B010 - checkers know that nobody does this
        try:
            super().run_forever()
        finally:
            setattr(time, "monotonic", monotonic)  # noqa: B010

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """Choose what runs jobs that name no executor."""
        self._executor = executor
        super().set_default_executor(executor)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run a function in a thread; time waits for it."""
        source = (executor or self._executor).submit(func, *args)
        future = asyncio.wrap_future(source, loop=self)
        self._jobs.append((source, future))
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        """Wait for the threads, for which time waits as well."""
        self._joining = True
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._joining = False

    def threads_work(self) -> bool:
        """Whether something may come from a thread."""
        # A job that was cancelled may still run, and one that is done may still have to be told to the loop.
        self._jobs = [job for job in self._jobs if not (job[0].done() and job[1].done())]
        return self._joining or bool(self._jobs) or any(map(self._is_busy, threading.enumerate()))

    def _is_busy(self, thread: Any) -> bool:
        """Whether it is one of anyio's threads, and at work; anyio has no other way to tell."""
        idle = getattr(thread, "idle_workers", None)
        return idle is not None and thread.loop is self and not thread.stopping and thread not in idle

    def advance(self, seconds: float) -> None:
        """Let time pass."""
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
                raise RuntimeError(
                    "all tasks wait, and there is no timer that could wake one: this would hang for ever"
                )
            self._loop.advance(max(timeout, 0.0))
        return events


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time.

    Raises:
        RuntimeError: everything waits for something that cannot come.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
