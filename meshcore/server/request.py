"""One scope per admitted request: bounds the arrival of its body and the call that it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from types import TracebackType
from typing import Self, TypeAlias

from meshcore.core.call_scope import CallScope, Stop, Stopped
from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError, MeshError
from meshcore.wire.headers import RequestHeaders

Left: TypeAlias = Callable[[], Awaitable[object]]
"""Awaited, it returns when the caller of a request is gone."""

_SOON = 0.1
"""Seconds within which a request is certainly looked at."""
_LONG = 0.02
"""Seconds after which a call is watched."""


class ServedRequest(CallScope):
    """Is stopped at its deadline and, while its call runs, when its client leaves.

    A timer for the one would take 8 of the 210 us of a call, and a task that listens for the other more; most calls are
    over before either has anything to do. So both begin when somebody looks which requests are still there.

    Args:
        among: the requests that are looked at; this is one of them while it is entered.
        headers: of the request.
        seconds: for the body and the call together: who sends slowly must not hold a connection and half a body for
            ever.
        peer: the address of the client's host.
        left: returns when the client is gone.

    Attributes:
        headers: of the request.
        peer: the address of the client's host.
        deadline: of the request, on `time.monotonic()`.
        method: what is called, None until that runs.
        begun: since when that runs, on `time.monotonic()`.
        stopped: why it was stopped, if it was.
    """

    __slots__ = ("_among", "_left", "_listening", "begun", "deadline", "headers", "method", "peer")

    def __init__(
        self, among: set[ServedRequest], headers: RequestHeaders, seconds: float, peer: str, left: Left
    ) -> None:
        self.deadline = time.monotonic() + seconds
        super().__init__(self.deadline if seconds <= _SOON else inf)
        self._among = among
        self._left: Left | None = left
        self._listening: asyncio.Task[None] | None = None
        self.headers = headers
        self.peer = peer
        self.method: Method | None = None
        self.begun = 0.0

    def __enter__(self) -> Self:
        super().__enter__()
        self._among.add(self)
        return self

    @property
    def stopped(self) -> Stop | None:
        """See above."""
        return self._reason

    def check(self) -> None:
        """Refuse a call whose caller has stopped waiting while its body arrived, before it is even decoded.

        Raises:
            MeshError: DEADLINE_EXCEEDED, and not processed.
        """
        if self.deadline <= time.monotonic():
            text = "the deadline had passed when the call was complete"
            raise MeshError(Code.DEADLINE_EXCEEDED, text, processed=False)

    def begin(self, method: Method, now: float) -> None:
        """The call runs from now on."""
        self.method = method
        self.begun = now

    def shield(self, deadline: float) -> None:
        """Let it go on until another deadline, also when its client leaves."""
        self._left = None
        self.deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self, now: float) -> None:
        """See to it that the request ends when it has to, if it takes long."""
        if self.method is None:
            if self.deadline <= now:
                self.stop(Stop.DEADLINE)
        elif now - self.begun >= _LONG:
            if self._timer is None:
                self._arm(self.deadline)
            if self._listening is None and self._left is not None:
                self._listening = asyncio.create_task(self._listen(self._left))

    async def _listen(self, left: Left) -> None:
        await left()
        self.stop(Stop.CLIENT_LEFT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave it.

        Raises:
            LocalError: DEADLINE_EXCEEDED, it was stopped before its body was complete.
            MeshError: it was stopped while its call ran; the code says why.
        """
        self._among.discard(self)
        if self._listening is not None:
            self._listening.cancel()
        try:
            super().__exit__(kind, error, traceback)
        except Stopped as stopped:
            raise self._stopped(stopped.reason) from None

    def _stopped(self, reason: Stop) -> LocalError | MeshError:
        if self.method is None:
            return BodyError(408, Code.DEADLINE_EXCEEDED, "the body was not complete when the time for the call was up")
        return MeshError(reason.value, f"{self.method} was stopped: {reason.name.lower().replace('_', ' ')}")


class BodyError(LocalError):
    """Something is wrong with a request's body that HTTP has a status of its own for.

    Attributes:
        status: which.
    """

    def __init__(self, status: int, code: Code, text: str) -> None:
        super().__init__(code, text)
        self.status = status
