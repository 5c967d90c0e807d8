"""The cancel scope of a call: cancels the task at the deadline, or when `stop` is called.

`failure_of` tells cancellations from failures.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from enum import Enum
from math import inf
from types import TracebackType
from typing import Any, Self

import msgspec

from meshcore.core.errors import Code, CommunicationError, ImplementationError

_NEVER = 1e10
"""Seconds. Later deadlines get no timer: uvloop's timers, which count milliseconds, cannot hold such numbers."""


class Stop(Enum):
    """Why a call was stopped. The value is the code that its caller gets."""

    DEADLINE = Code.DEADLINE_EXCEEDED
    CLIENT_LEFT = Code.CANCELED
    SHUTDOWN = Code.UNAVAILABLE


ENDED = Stop.SHUTDOWN
"""The reason of a scope that was left without any, so that a later `stop` does not cancel its task. A name of its own:
Python 3.11 takes 0.1 us to find the member of an enum."""


class Stopped(Exception):  # noqa: N818 - no error: the stop was requested
    """Raised by a `CallScope` that was stopped, in place of `CancelledError`."""

    def __init__(self, reason: Stop) -> None:
        super().__init__(reason.name)
        self.reason = reason


class CallScope(msgspec.Struct, eq=False):
    """Cancels the task that entered it when the deadline passes or `stop` is called.

    Cancellations with another origin pass through unchanged, as with `asyncio.timeout`. Unlike that, one scope covers
    the deadline and all other reasons.

    A struct, since every call makes one: a class with `__init__` would take 0.4 us more.

    Attributes:
        timer_at: the deadline, on `time.monotonic()`.
    """

    timer_at: float = inf
    _reason: Stop | None = None
    _task: asyncio.Task[Any] | None = None
    _timer: asyncio.TimerHandle | None = None
    _cancelling: int = 0

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call must run in an asyncio task")
        if self._reason is not None:
            raise Stopped(self._reason)
        self._task = task
        self._cancelling = task.cancelling()
        if self.timer_at < _NEVER:
            self._arm(self.timer_at)
        return self

    def _arm(self, deadline: float) -> None:
        """Set the timer for the deadline."""
        assert self._task is not None  # noqa: S101 - the scope is entered
        if deadline < _NEVER:
            self._timer = self._task.get_loop().call_at(deadline, self.stop, Stop.DEADLINE)

    def stop(self, reason: Stop) -> None:
        """Cancel the task. The first reason counts. A scope that is stopped cannot be entered."""
        if self._reason is None:
            self._reason = reason
            if self._task is not None:
                self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        task, reason = self._task, self._reason
        if reason is None or task is None:
            self._reason = ENDED
            return
        ours = task.uncancel() <= self._cancelling
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise Stopped(reason) from error


def deadline_exceeded(what: str, seconds: float) -> CommunicationError:
    """The error of a call whose deadline passed."""
    return CommunicationError(
        Code.DEADLINE_EXCEEDED, f"{what} was not answered within {seconds:.3g} s", retryable=False
    )


def failure_of(error: BaseException) -> Exception | None:
    """What ended the user's code, as an `Exception`. None: a cancellation or a signal, which must be raised again.

    Code that serves others has only failed if it calls `sys.exit()`, or raises a `KeyboardInterrupt`, a
    `GeneratorExit`, or an exception of a library that derives from `BaseException`. Raised on, some of these would end
    the event loop, and all of them the task of the server.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, asyncio.CancelledError):
        loop = _running_loop()
        goes_on = loop is None or (task := asyncio.current_task(loop)) is None or task.cancelling() > 0
    elif isinstance(error, GeneratorExit):
        goes_on = _running_loop() is None  # the coroutine is closed with its loop
    else:
        goes_on = _from_signal(error)
    if goes_on:
        return None
    failure = ImplementationError(f"{type(error).__name__} was raised")
    failure.__cause__ = error
    return failure


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _from_signal(error: BaseException) -> bool:
    """Whether a signal handler raised the error, such as `KeyboardInterrupt` for Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    if isinstance(error, KeyboardInterrupt) and signal.default_int_handler in handlers:
        return True  # that handler leaves no trace
    codes = {getattr(getattr(each, "func", each), "__code__", None) for each in handlers} - {None}
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False
