"""One cancel scope per call: bounds the current task by a deadline and by an outside stop."""

from __future__ import annotations

import asyncio
from enum import Enum
from math import inf
from types import TracebackType
from typing import Any, Self

from meshcore.core.errors import Code, CommunicationError

_NEVER = 1e10
"""No machine runs for 300 years; and no timer does, in which uvloop counts milliseconds."""


class Stop(Enum):
    """Why a call's work was stopped from outside; the code that its caller gets."""

    DEADLINE = Code.DEADLINE_EXCEEDED
    CLIENT_LEFT = Code.CANCELED
    SHUTDOWN = Code.UNAVAILABLE


class Stopped(Exception):  # noqa: N818 - it is no error: somebody asked for it
    """Leaves a `CallScope` that was stopped, in place of the cancellation that stopped it."""

    def __init__(self, reason: Stop) -> None:
        super().__init__(reason.name)
        self.reason = reason


class CallScope:
    """Cancels the task that entered it when the deadline passes or `stop` is called.

    A cancellation that came from elsewhere passes through untouched, as `asyncio.timeout` has it. Unlike that, one
    scope serves the deadline and every other reason.
    """

    __slots__ = ("_cancelling", "_deadline", "_reason", "_task", "_timer")

    def __init__(self, deadline: float = inf) -> None:
        self._deadline = deadline
        self._reason: Stop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call must run in an asyncio task")
        if self._reason is not None:
            raise Stopped(self._reason)
        self._task = task
        self._cancelling = task.cancelling()
        self._arm(self._deadline)
        return self

    def _arm(self, deadline: float) -> None:
        """See to it that the scope is stopped at that time."""
        assert self._task is not None  # noqa: S101 - it is entered
        if deadline < _NEVER:
            self._timer = self._task.get_loop().call_at(deadline, self.stop, Stop.DEADLINE)

    def stop(self, reason: Stop) -> None:
        """Cancel the work; the first reason counts. What has not begun will not begin."""
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
            self._reason = Stop.SHUTDOWN  # the work is over: from here on `stop` must not cancel its task
            return
        ours = task.uncancel() <= self._cancelling
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise Stopped(reason) from error


def deadline_exceeded(what: str, seconds: float) -> CommunicationError:
    """The error of a call whose deadline passed."""
    return CommunicationError(
        Code.DEADLINE_EXCEEDED, f"{what} was not answered within {seconds:.3g} s", retryable=False
    )
