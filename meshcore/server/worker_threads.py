"""The worker threads of `def` implementations, and who gets one.

A thread cannot be stopped. One whose call was given up, because its deadline passed or its caller left, is held until
the implementation returns. So a call waits for a thread for a bounded time, and not at all while all are held like
that. What got none was not processed, and may be sent to another instance.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from math import inf
from typing import Any, TypeVar

from meshcore.core.call import ambient_deadline
from meshcore.core.context.threads import ThreadCall, owning_call, waiting_call
from meshcore.core.errors import Code, LocalError
from meshcore.server.refusals import CancelledBeforeItBegan, NotBegunError

log = logging.getLogger(__name__)

T = TypeVar("T")

_MAX_DEPTH = 32
"""How many worker threads may wait for each other. Deeper nesting is almost certainly endless recursion."""

_LONGEST_WAIT = 2.0
"""Seconds that a call with a deadline waits for a thread, at most. It waits half of its time if that is less, so that
the other half is left for another instance."""

_STUCK = 0.5
"""Seconds for which all threads must be held by calls that were given up. Then no call waits for them any more."""

_PAUSE = 1.0
"""Seconds after which a refused call may come back."""

_NAMED = 3  # implementations that a message names


class WorkerThreads:
    """Runs functions in worker threads.

    An implementation that calls another `def` implementation of this process waits for that one's thread. With a single
    bounded pool all threads could wait for each other. So each depth of nesting has a pool of its own, made on demand:
    a thread waits only for threads of deeper pools.

    Args:
        threads: the size of each pool, the setting `max_threads`.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pools: list[_Pool] = []
        self._closed = False

    async def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call the function in a worker thread, in a copy of this context.

        A cancellation takes effect at once. The thread runs on, but the calls that it makes through the mesh fail.

        Raises:
            LocalError: RESOURCE_EXHAUSTED, too many threads wait for this call.
            NotBegunError: RESOURCE_EXHAUSTED, no thread was free in time.
        """
        parent = waiting_call.get()
        while parent is not None and parent.ended:  # code that it started runs on, but its thread does not wait for it
            parent = parent.parent
        thread_call = ThreadCall(parent)
        pool = self._pool(thread_call.depth)
        tokens = owning_call.set(thread_call), waiting_call.set(thread_call)
        try:
            context = contextvars.copy_context()
        finally:
            owning_call.reset(tokens[0])
            waiting_call.reset(tokens[1])
        await pool.take()
        run = functools.partial(context.run, thread_call.run, function, *arguments, **keywords)
        try:
            running = asyncio.get_running_loop().run_in_executor(pool.executor, run)
        except BaseException:
            pool.give_back()
            raise
        in_thread = pool.executor.last
        try:
            result = await running
        except asyncio.CancelledError:
            thread_call.cancel()
            pool.abandon(in_thread, getattr(function, "__qualname__", repr(function)))
            raise
        except BaseException:
            pool.give_back()
            raise
        pool.give_back()
        return result

    @property
    def shortage(self) -> str:
        """Which share of the threads is held by calls that were given up; empty if it is less than a half."""
        return next((pool.shortage for pool in self._pools if pool.shortage), "")

    def _pool(self, depth: int) -> _Pool:
        if depth > _MAX_DEPTH:
            text = f"{depth} calls of def implementations wait for each other in this process, each in a thread"
            raise LocalError(Code.RESOURCE_EXHAUSTED, text)
        if self._closed:
            raise _stopped()
        while len(self._pools) <= depth:
            self._pools.append(_Pool(self._threads, f"meshcore-worker-{len(self._pools)}"))
        return self._pools[depth]

    def close(self) -> None:
        """Fail calls that have not begun. A running one keeps its thread until it returns."""
        self._closed = True
        for pool in self._pools:
            pool.close()


class _Executor(ThreadPoolExecutor):
    """Tells the future of the thread, which ends when the thread does. That of the loop ends when it is cancelled.

    Attributes:
        last: of the function that it was given last.
    """

    last: Future[Any]

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run the function in a thread."""
        future = super().submit(fn, *args, **kwargs)
        self.last = future
        return future


class _Pool:
    """The threads of one depth. Only the event loop uses it.

    Attributes:
        executor: has as many threads as there are places, so what it is given begins at once.
    """

    def __init__(self, threads: int, name: str) -> None:
        self.executor = _Executor(threads, thread_name_prefix=name)
        self._threads = threads
        self._free = threads
        self._waiting: dict[asyncio.Future[None], None] = {}  # the oldest first
        self._held: Counter[str] = Counter()  # by functions whose calls were given up
        self._stuck = False
        self._stuck_soon: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Take a place, as soon as one is free.

        Raises:
            NotBegunError: none was free in time, or none will be.
        """
        if self._free > 0:
            self._free -= 1
            return
        if self._stuck:
            raise NotBegunError(f"this instance has no free thread: {self.shortage}", _PAUSE)
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        self._waiting[place] = None
        begun = time.monotonic()
        seconds = min(_LONGEST_WAIT, (ambient_deadline.get() - begun) / 2)
        timer = None
        if ambient_deadline.get() < inf:
            timer = loop.call_later(seconds, _refuse, place, f"this instance had no free thread for {seconds:.2g} s")
        try:
            await place
        except asyncio.CancelledError as error:
            if place.done() and not place.cancelled() and place.exception() is None:  # it got the place as well
                self.give_back()
            raise CancelledBeforeItBegan from error
        finally:
            self._waiting.pop(place, None)
            if timer is not None:
                timer.cancel()

    def give_back(self) -> None:
        """Give the place to the call that waits longest."""
        for place in self._waiting:
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def abandon(self, future: Future[Any], name: str) -> None:
        """Keep the place until the thread returns, though its call was given up."""
        self._held[name] += 1
        loop = asyncio.get_running_loop()

        def ended() -> None:
            self._held -= Counter({name: 1})
            self._stuck = False
            if self._stuck_soon is not None:
                self._stuck_soon.cancel()
                self._stuck_soon = None
            self.give_back()

        def report(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended)

        future.add_done_callback(report)
        if self._held.total() >= self._threads:
            self._stuck_soon = loop.call_later(_STUCK, self._be_stuck)

    def _be_stuck(self) -> None:
        self._stuck = True
        log.error(
            "%s. Calls of `def` implementations are refused until one of them returns: limit the time of what they "
            "wait for, such as a database, or raise max_threads",
            self.shortage,
        )
        for place in self._waiting:
            _refuse(place, f"this instance has no free thread: {self.shortage}")

    @property
    def shortage(self) -> str:
        """See `WorkerThreads.shortage`."""
        held = self._held.total()
        if held * 2 < self._threads:
            return ""
        names = ", ".join(name for name, _ in self._held.most_common(_NAMED))
        return f"{held} of {self._threads} threads are held by calls that were given up ({names})"

    def close(self) -> None:
        """Fail the calls that wait."""
        if self._stuck_soon is not None:
            self._stuck_soon.cancel()
        self.executor.shutdown(wait=False, cancel_futures=True)
        for place in self._waiting:
            if not place.done():
                place.set_exception(_stopped())


def _refuse(place: asyncio.Future[None], text: str) -> None:
    if not place.done():
        place.set_exception(NotBegunError(text, _PAUSE))


def _stopped() -> LocalError:
    return LocalError(Code.FAILED_PRECONDITION, "the mesh has stopped")
