"""The cancel scope of an admitted request: limits the time for its body and its call together."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from types import TracebackType
from typing import Self, TypeAlias

from meshcore.core.caller import Peer
from meshcore.core.context.call_scope import ENDED, CallScope, Stop, Stopped
from meshcore.core.description import Method
from meshcore.core.errors import Code, ImplementationError, LocalError, MeshError
from meshcore.server.refusals import CancelledBeforeItBegan, NotBegunError
from meshcore.telemetry.trace_context import ids_of, read_trace
from meshcore.wire.headers import RequestHeaders

Left: TypeAlias = Callable[[], Awaitable[object]]
"""Awaited, it returns when the caller of a request has disconnected."""

SOON = 0.1
"""Seconds. Requests with a shorter time get a timer at once; `look` is called often enough for the others."""
_LONG = 0.02
"""Seconds after which a running call gets a timer, and a task that waits for its client's disconnect."""


class ServedRequest(CallScope, eq=False, kw_only=True):
    """An admitted request. It is stopped at its deadline and, while its call runs, when its client disconnects.

    A timer for the deadline would take 8 of the 210 us of a call, and a task that waits for the disconnect more. Most
    calls end before either is needed. So both are made only when `look` finds that the call takes long.

    Attributes:
        among: the set of running requests. This one is in it while it is entered.
        deadline: the end of the time for the body and the call together, on `time.monotonic()`. A client that sends
            slowly must not hold memory for ever.
        headers: the headers of the request.
        peer: the client.
        arrived: when it was admitted, on `time.monotonic()`.
        left: returns when the client has disconnected; None when that does not count any more.
        method: the method that is called, None until the call runs.
        begun: the start of the call, on `time.monotonic()`.
        stopped: why it was stopped, None if it was not.
        answering: whether the answer is being sent.
        trace: the headers of the trace that began, or goes on, with a span of this process; None for the caller's.
    """

    among: set[ServedRequest]
    deadline: float
    headers: RequestHeaders
    peer: Peer
    left: Left | None
    arrived: float = 0.0
    method: Method | None = None
    begun: float = 0.0
    answering: bool = False
    trace: Mapping[str, str] | None = None
    _listening: asyncio.Task[None] | None = None
    _id: str = ""

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None or self._reason is not None or self.timer_at < inf:
            CallScope.__enter__(self)
        else:  # nearly always: to call that takes 0.2 us
            self._task, self._cancelling = task, task.cancelling()
        self.among.add(self)
        return self

    @property
    def call_id(self) -> str:
        """The id of the call in this process, for the log. It is made when it is first asked for."""
        if not self._id:
            self._id = secrets.token_hex(8)
        return self._id

    @property
    def caller_name(self) -> str:
        """How the client is called: by what it has proven, else as it calls itself; empty if it does not say."""
        return self.peer.name(self.headers.caller)

    @property
    def trace_ids(self) -> tuple[str, str]:
        """The ids of its trace and span, both empty if it belongs to none."""
        if self.trace is None and self.headers.trace is not None:
            return ids_of(read_trace(self.headers.trace))
        return ids_of(self.trace)

    @property
    def stopped(self) -> Stop | None:
        """See above."""
        return self._reason

    def check(self) -> None:
        """Refuse a call whose deadline has passed while its body arrived. Called before the body is decoded.

        Raises:
            MeshError: DEADLINE_EXCEEDED, and not processed.
        """
        if self.deadline <= time.monotonic():
            text = "the deadline had passed when the call was complete"
            raise MeshError(Code.DEADLINE_EXCEEDED, text, processed=False)

    def answer(self) -> None:
        """Record that the answer is sent from now on. The server itself finds out if the client disconnects."""
        self.answering = True
        self.left = None
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def shield(self, deadline: float) -> None:
        """Set another deadline, and do not stop the call when its client disconnects."""
        self.left = None
        self.set_deadline(deadline)

    def set_deadline(self, deadline: float) -> None:
        """Set another deadline, on `time.monotonic()`."""
        self.deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self, now: float) -> None:
        """Called regularly. Stops a request whose deadline has passed, and sets the timer of a long call."""
        if self.method is None:
            if self.deadline <= now:
                self.stop(Stop.DEADLINE)
        elif now - self.begun >= _LONG:
            if self._timer is None:
                self._arm(self.deadline)
            if self._listening is None and self.left is not None:
                self._listening = asyncio.create_task(self._listen(self.left))

    def judge(self, error: BaseException) -> bool | None:
        """What it says of the call's time that it ended by an error: False if it was not its own end, None if nothing.

        Raises:
            ImplementationError: an interceptor made a call that could not be sent. That is no mistake of the caller, so
                it is hidden.
        """
        if isinstance(error, asyncio.CancelledError):
            return False if self.stopped in {Stop.DEADLINE, Stop.CLIENT_LEFT} else None
        if isinstance(error, LocalError):
            raise ImplementationError from error
        if isinstance(error, NotBegunError) and not error.from_local_call:
            return False
        if isinstance(error, MeshError):
            error.processed = True
        return None

    async def _listen(self, left: Left) -> None:
        await left()
        self.stop(Stop.CLIENT_LEFT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the scope.

        Raises:
            LocalError: DEADLINE_EXCEEDED, it was stopped before its body was complete.
            MeshError: it was stopped while its call ran. The code says why.
            NotRead: it was stopped while its answer was sent.
        """
        self.among.discard(self)
        if self._listening is not None:
            self._listening.cancel()
        if self._reason is None and self._timer is None:  # nearly always
            self._reason = ENDED
            return
        try:
            super().__exit__(kind, error, traceback)
        except Stopped as stopped:
            raise self._stopped(stopped.reason, isinstance(stopped.__cause__, CancelledBeforeItBegan)) from None

    def _stopped(self, reason: Stop, not_begun: bool) -> LocalError | MeshError | NotRead:  # noqa: FBT001
        if self.answering:
            return NotRead()
        if self.method is None:
            return BodyError(408, Code.DEADLINE_EXCEEDED, "the body was not complete when the time for the call was up")
        text = f"{self.method} was stopped: {reason.name.lower().replace('_', ' ')}"
        return MeshError(reason.value, text, processed=not not_begun)


class NotRead(Exception):  # noqa: N818 - nothing failed on this side
    """The client has not read its answer in time."""


class BodyError(LocalError):
    """An error of a request, mostly of its body, that has an HTTP status of its own.

    Attributes:
        status: the status.
    """

    def __init__(self, status: int, code: Code, text: str) -> None:
        super().__init__(code, text)
        self.status = status
