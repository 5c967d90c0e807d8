"""The server stack: the layers that a served call passes, outermost first.

    admission (draining, limits) > scope (deadline, disconnect) > finding the method > guard (token, authorization)
        > decoding > the user's interceptors > idempotency keys > implementation

Local calls pass the same layers from the user's interceptors on: who runs in a process may call what it implements.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from math import inf
from typing import Any, TypeAlias

from meshcore.core.call import Call, Handler, ambient_attempt, ambient_deadline
from meshcore.core.caller import Peer
from meshcore.core.context.call_scope import Stop
from meshcore.core.context.current_call import ambient_request, ambient_trace
from meshcore.core.description import Method
from meshcore.core.errors import Code, MeshError
from meshcore.server.blocked_loop import LONG, BlockedLoopDetector
from meshcore.server.loop_lag import Lag
from meshcore.server.reports import report
from meshcore.server.request import SOON, Left, ServedRequest
from meshcore.telemetry.tables import ServedCalls
from meshcore.telemetry.trace_context import read_trace
from meshcore.traffic.adaptive_limit import WINDOW, AdaptiveLimit
from meshcore.wire.errors import ErrorBody, ErrorCodec
from meshcore.wire.headers import RequestHeaders

log = logging.getLogger(__name__)

Guard: TypeAlias = Callable[[ServedRequest, Method], Awaitable[None] | None]
"""Judges whether a request may call a method, once that is known and before its arguments are decoded.

It returns None if that is decided at once, and an awaitable if a token has to be verified first. It raises
`AuthorizationError`, not processed, for who may not.
"""


class Server:
    """Admits and runs served calls: limits their number and time, and keeps a failing call from harming others.

    Attributes:
        draining: whether new calls are refused. They are not processed, so their callers send them elsewhere.
        refused_at: the time of the last such refusal, at first the start of the drain, on `time.monotonic()`.
        active: the number of running calls.
        request_timeout: seconds for a request whose caller grants no less.
        limit: an adaptive limit below `max_concurrency`, None if there is none. `tick` reports the loop's lag to it.
        max_unsent: bytes of large answers that may wait for their readers.
        served: counts the calls.
        access_log: whether a line is logged for each call.
        drains: called when the drain begins, such as to tell the clients of long connections.
        guard: judges every call of another process, whatever its channel. None if there is nothing to judge.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        max_concurrency: int,
        request_timeout: float,
        debug: bool,
        limit: AdaptiveLimit | None = None,
        max_unsent: int = 2**27,
        served: ServedCalls | None = None,
    ) -> None:
        self._handler = handler
        self._max_concurrency = max_concurrency
        self.request_timeout = request_timeout
        self._debug = debug
        self.max_unsent = max_unsent
        self._unsent = 0  # bytes of large answers that are being sent
        self.limit = limit
        self.served = ServedCalls() if served is None else served
        self.access_log = False
        self._requests: set[ServedRequest] = set()
        self._idle: asyncio.Event | None = None  # set when the last call ends; only while draining
        self._stalls = BlockedLoopDetector()
        self._lag: Lag | None = None  # while requests wait for the loop, and there is a limit
        self.active, self.draining = 0, False
        self.refused_at = 0.0
        self.drains: set[Callable[[], None]] = set()
        self.guard: Guard | None = None

    def accept(self, headers: RequestHeaders, peer: Peer, left: Left) -> ServedRequest:
        """Admit a request, or refuse it before its body is read, so that a refusal is cheap.

        Args:
            headers: the headers of the request.
            peer: the client.
            left: returns when the client has disconnected. Awaited only for calls that take long.

        Returns:
            The scope to enter while the body is read and the call runs.

        Raises:
            MeshError: not processed: UNAVAILABLE, or RESOURCE_EXHAUSTED with `retry_after`.
        """
        if self.draining:
            self.refused_at = time.monotonic()
            self.served.refuse("stopping")
            text = "this instance is stopping"
            raise MeshError(Code.UNAVAILABLE, text, processed=False)
        if self.active >= self._max_concurrency:
            raise self._full("max_concurrency", f"runs {self._max_concurrency} calls already")
        # As many bodies may arrive as calls may run: an incomplete body takes memory, too.
        if len(self._requests) >= 2 * self._max_concurrency:
            raise self._full("requests", f"has {len(self._requests)} requests in hand already")
        if self._unsent >= self.max_unsent:
            text = f"holds {self._unsent} bytes of answers that nobody has read yet (setting max_unsent)"
            raise self._full("max_unsent", text)
        if self.limit is not None and not self.limit.admit(self.active):
            raise self._overloaded(self.limit)
        granted, seconds = self.request_timeout, headers.seconds
        if seconds is not None and seconds < granted:  # `min` would take 0.2 us
            granted = seconds if self._lag is None else self._left_of(seconds)
        now = time.monotonic()
        deadline = now + granted
        timer_at = deadline if granted <= SOON else inf
        return ServedRequest(
            timer_at, among=self._requests, deadline=deadline, headers=headers, peer=peer, left=left, arrived=now
        )

    async def run(self, request: ServedRequest, method: Method, arguments: tuple[Any, ...]) -> Any:
        """Run the call of a request. It is stopped at its deadline or when its caller leaves, unless it is shielded.

        Raises:
            MeshError: raised by the implementation; or RESOURCE_EXHAUSTED, not processed: too many other calls have
                begun while the body arrived.
            Exception: raised by the implementation.
        """
        begun, limit = time.monotonic(), self.limit
        if self.active >= self._max_concurrency or (limit and (self.active >= limit.limit or self._lag)):
            self._check_room(method, request.deadline - begun)
        if method.shielded:  # it gets all the time that the server grants
            request.shield(begun + self.request_timeout)
        headers, attempt = request.headers, request.headers.attempt
        peer = request.peer
        call = Call(method, arguments, headers, request.deadline, attempt, peer=peer.host, caller=peer.caller)
        token, request_token = ambient_deadline.set(request.deadline), ambient_request.set(request)
        attempt_token = ambient_attempt.set(attempt) if attempt > 1 else None
        trace_token = None if headers.trace is None else ambient_trace.set(read_trace(headers.trace))
        request.method, request.begun = method, begun
        self.active += 1
        whole: bool | None = None  # whether the call ended by itself; None does not count for the limit
        try:
            result = await self._handler(call)
            # Only successes: immediate failures would lower the usual latency, and successes would look slow.
            whole = True
        except BaseException as error:
            whole = request.judge(error)
            raise
        else:
            return result
        finally:
            ambient_deadline.reset(token)
            ambient_request.reset(request_token)
            if attempt_token is not None:
                ambient_attempt.reset(attempt_token)
            if trace_token is not None:
                ambient_trace.reset(trace_token)
            # All of it here, and the clock read once: three methods and a clock of their own took 0.5 us more.
            now = time.monotonic()
            if whole is not None and limit is not None:
                limit.observe(method, now - begun, self.active, now, whole=whole)
            if now - begun >= LONG:
                self._stalls.ended(method, begun, now)
            self.active -= 1
            if self._idle is not None:
                self._check_idle()

    @contextmanager
    def sending(self, size: int) -> Generator[None]:
        """Count a large answer while it is sent: as a running call, and its bytes.

        Args:
            size: the bytes.

        Raises:
            MeshError: RESOURCE_EXHAUSTED, too many bytes are being sent. The call is processed.
        """
        if self._unsent and self._unsent + size > self.max_unsent:
            text = f"the answer was dropped: {self._unsent} bytes of others are not read yet (setting max_unsent)"
            raise MeshError(Code.RESOURCE_EXHAUSTED, text, retryable=False)
        self._unsent += size
        self.active += 1
        try:
            yield
        finally:
            self._unsent -= size
            self.active -= 1
            self._check_idle()

    def refusal(self, headers: RequestHeaders, peer: Peer) -> ServedRequest:
        """The scope to enter while an error is sent, which nobody may read either."""
        deadline = time.monotonic() + self.request_timeout
        timer_at = deadline if self.request_timeout <= SOON else inf
        return ServedRequest(
            timer_at, among=self._requests, deadline=deadline, headers=headers, peer=peer, left=None, answering=True
        )

    def _check_idle(self) -> None:
        if self._idle is not None and not self.active:
            self._idle.set()

    def _left_of(self, seconds: float) -> float:
        """What is left of a caller's time, which has begun when its bytes arrived and not when they are read.

        Raises:
            MeshError: RESOURCE_EXHAUSTED, not processed: nothing.
        """
        assert self._lag is not None  # noqa: S101 - the loop is late
        assert self.limit is not None  # noqa: S101 - as above
        left = seconds - self._lag.age(time.monotonic())
        if left <= 0:
            raise self._overloaded(self.limit, "late")
        return left

    def _check_room(self, method: Method, left: float) -> None:
        if self.active >= self._max_concurrency:
            raise self._full("max_concurrency", f"runs {self._max_concurrency} calls already")
        if self.limit is not None:
            if self.active >= self.limit.limit:
                raise self._overloaded(self.limit)
            # What cannot be done in time is refused first. A shielded call goes on without its caller.
            if self._lag is not None and not method.shielded and left < self.limit.usual(method):
                raise self._overloaded(self.limit, "late")

    def _overloaded(self, limit: AdaptiveLimit, reason: str = "overload") -> MeshError:
        return self._full(reason, "is overloaded", limit.retry_after)

    def _full(self, reason: str, what: str, pause: float = WINDOW) -> MeshError:
        self.served.refuse(reason)
        return MeshError(Code.RESOURCE_EXHAUSTED, f"this instance {what}", processed=False, retry_after=pause)

    def tick(self, lag: Lag) -> None:
        """Called every few hundredths of a second, with the lag of the event loop.

        Checks requests that take long, adapts the limit to the lag, and logs which calls may have blocked the loop.
        """
        now = lag.at
        for request in self._requests:
            request.look(now)
        if self.limit is not None:
            self.limit.lagged(lag.overload, now)
            self._lag = lag if lag.noticed else None
        if text := self._stalls.late(lag.blocked, now, self._calls()):
            log.warning(text)

    def _calls(self) -> list[tuple[Method, float]]:
        """The running calls, each with its start."""
        return [(request.method, request.begun) for request in self._requests if request.method is not None]

    async def drain(self, seconds: float, hurry: asyncio.Event) -> int:
        """Refuse new calls, wait for running ones, then stop the rest. Returns how many were stopped.

        Args:
            seconds: the longest time to wait.
            hurry: when it is set, stop waiting at once.
        """
        self.draining = True
        self.refused_at = time.monotonic()
        self._idle = asyncio.Event()
        for drains in tuple(self.drains):
            drains()
        if not self.active:
            self._idle.set()
        waiting = [asyncio.create_task(event.wait()) for event in (self._idle, hurry)]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        left = [request for request in self._requests if request.method is not None]
        for request in left:
            request.stop(Stop.SHUTDOWN)
        return len(left)

    def report(
        self, error: Exception, method: Method | None, errors: ErrorCodec | None, request: ServedRequest | None
    ) -> ErrorBody:
        """The body of the response for an error, see `reports.report`."""
        component = self.served.component_of(method)
        return report(error, method, errors, request, component, debug=self._debug)
