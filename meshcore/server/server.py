"""The server stack: what a served call passes through, outermost first.

    refuse (stopping, limits) > scope (deadline, disconnect) > decode > the user's interceptors
        > once (repetitions of calls with a key) > dispatch > implementation

A local call uses the same handler from the user's interceptors on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import traceback
from typing import Any

from meshcore.codec.errors import EncodeError, encodable
from meshcore.core.call import Call, Handler, ambient_attempt, ambient_deadline
from meshcore.core.call_scope import Stop
from meshcore.core.description import Method
from meshcore.core.errors import Code, ImplementationError, LocalError, MeshError
from meshcore.server.request import Left, ServedRequest
from meshcore.server.stalls import Stalls
from meshcore.traffic.adaptive_limit import WINDOW, AdaptiveLimit
from meshcore.wire.errors import ErrorBody, ErrorCodec, mesh_error_body
from meshcore.wire.headers import RequestHeaders

log = logging.getLogger(__name__)


def _full(what: str) -> MeshError:
    return MeshError(Code.RESOURCE_EXHAUSTED, f"this instance {what}", processed=False, retry_after=WINDOW)


def _overloaded(limit: AdaptiveLimit) -> MeshError:
    text = "this instance is overloaded"
    return MeshError(Code.RESOURCE_EXHAUSTED, text, processed=False, retry_after=limit.retry_after)


class Server:
    """Runs served calls: bounded in number and time, stoppable, and nobody's failure but their own.

    Attributes:
        draining: new calls are refused as not processed, so that their callers send them elsewhere.
        refused_at: when that happened last, or could have begun to, on the monotonic clock.
        active: how many calls run.
        limit: what adapts how many calls are admitted below `max_concurrency`, None for nothing. It wants to be told
            how late the event loop is.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        max_concurrency: int,
        request_timeout: float,
        debug: bool,
        limit: AdaptiveLimit | None = None,
    ) -> None:
        self._handler = handler
        self._max_concurrency = max_concurrency
        self._request_timeout = request_timeout
        self._debug = debug
        self.limit = limit
        self._requests: set[ServedRequest] = set()
        self._idle: asyncio.Event | None = None  # while somebody waits for it
        self._stalls = Stalls()
        self.active = 0
        self.draining = False
        self.refused_at = 0.0

    def accept(self, headers: RequestHeaders, peer: str, left: Left) -> ServedRequest:
        """Take on a request, or refuse it before its body is read, so that a refused one costs next to nothing.

        Args:
            headers: of the request.
            peer: the address of the client's host, "unknown" if the transport does not say.
            left: returns when the client is gone; awaited only for calls that take long.

        Returns:
            What is to be entered while the body is read and the call runs.

        Raises:
            MeshError: not processed; UNAVAILABLE, or RESOURCE_EXHAUSTED with a pause to keep.
        """
        if self.draining:
            self.refused_at = time.monotonic()
            text = "this instance is stopping"
            raise MeshError(Code.UNAVAILABLE, text, processed=False)
        if self.active >= self._max_concurrency:
            raise _full(f"runs {self._max_concurrency} calls already")
        # As many may be on their way as may run: a body that does not come to its end takes memory, too.
        if len(self._requests) >= 2 * self._max_concurrency:
            raise _full(f"has {len(self._requests)} requests in hand already")
        if self.limit is not None and not self.limit.admit(self.active):
            raise _overloaded(self.limit)
        seconds = headers.seconds
        granted = self._request_timeout if seconds is None else min(seconds, self._request_timeout)
        return ServedRequest(self._requests, headers, granted, peer, left)

    async def run(self, request: ServedRequest, method: Method, arguments: tuple[Any, ...]) -> Any:
        """Run the call of a request for as long as its caller waits and is there, unless it is shielded from that.

        Raises:
            MeshError: what the implementation raised; or not processed, RESOURCE_EXHAUSTED: while the body came, others
                have begun.
            Exception: what the implementation raised.
        """
        self._check_room()
        begun = time.monotonic()
        if method.shielded:  # has all the time that the server grants
            request.shield(begun + self._request_timeout)
        headers, attempt = request.headers, request.headers.attempt
        call = Call(method, arguments, headers, request.deadline, attempt, peer=request.peer)
        token = ambient_deadline.set(request.deadline)
        attempt_token = ambient_attempt.set(attempt) if attempt > 1 else None
        request.begin(method, begun)
        self.active += 1
        try:
            result = await self._handler(call)
        except asyncio.CancelledError:
            if request.stopped in {Stop.DEADLINE, Stop.CLIENT_LEFT}:
                self._observe(call, begun, whole=False)
            raise
        except LocalError as error:
            # A mistake in how an interceptor makes calls: not the caller's, and not the caller's business.
            raise ImplementationError from error
        except MeshError as error:
            error.processed = True
            raise
        else:
            # Only what succeeded: an implementation that fails at once would make slow successes look like an overload.
            self._observe(call, begun)
            return result
        finally:
            ambient_deadline.reset(token)
            if attempt_token is not None:
                ambient_attempt.reset(attempt_token)
            self._stalls.ended(method, begun, time.monotonic())
            self.active -= 1
            if self._idle is not None and not self.active:
                self._idle.set()

    def _check_room(self) -> None:
        if self.active >= self._max_concurrency:
            raise _full(f"runs {self._max_concurrency} calls already")
        if self.limit is not None and self.active >= self.limit.limit:
            raise _overloaded(self.limit)

    def _observe(self, call: Call, begun: float, *, whole: bool = True) -> None:
        if self.limit is not None:
            now = time.monotonic()
            self.limit.observe(call.method, now - begun, self.active, now, whole=whole)

    def tick(self, lag: float, now: float) -> None:
        """Some milliseconds have passed, and the event loop is so many seconds late.

        Requests that take long are looked at. If the loop is late, less is admitted, and if somebody blocks it, that
        is said.
        """
        for request in self._requests:
            request.look(now)
        if self.limit is not None:
            self.limit.lagged(lag, now)
        if text := self._stalls.late(lag, now, self._calls()):
            log.warning(text)

    def _calls(self) -> list[tuple[Method, float]]:
        """What runs, and since when."""
        return [(request.method, request.begun) for request in self._requests if request.method is not None]

    async def drain(self, seconds: float, hurry: asyncio.Event) -> int:
        """Refuse new calls, wait for those that run, and stop what is left; how many that were.

        Args:
            seconds: how long calls may take.
            hurry: when it is set they may not take any longer.
        """
        self.draining = True
        self.refused_at = time.monotonic()
        self._idle = asyncio.Event()
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

    def report(self, error: Exception, method: Method | None, errors: ErrorCodec | None) -> ErrorBody:
        """What the caller is told of an error. Undeclared ones are logged with an id; only that id goes out.

        Of a failed call that the implementation made, the code goes out too if another try may go well.
        """
        body: ErrorBody | None = None
        if errors is not None:
            try:
                body = errors.body_of(error)
            except Exception:  # a declared exception that does not keep its fields
                log.exception("%s declares %s, but it cannot be sent", method, type(error).__name__)
        elif isinstance(error, MeshError):
            body = mesh_error_body(error)
        if body is not None:
            return body
        id_ = secrets.token_hex(8)
        extra = {"call": id_, "method": str(method)}
        if isinstance(error, EncodeError):  # no traceback: it would show the codec, not the implementation
            text = "call %s of %s failed: what it returned does not fit its type: %s"
            log.error(text, id_, method, error, extra=extra)
        else:
            log.error("call %s of %s failed", id_, method or "an unknown method", exc_info=error, extra=extra)
        details: dict[str, Any] = {"call": id_}
        if self._debug:
            details["traceback"] = encodable("".join(traceback.format_exception(error)))
        code, what, retryable = Code.INTERNAL, "internal error", False
        if isinstance(error, ImplementationError) and error.code is not Code.INTERNAL and method is not None:
            code, what = error.code, f"a call that {method} makes itself failed"
            # A keyed call is not executed again: to send it again brings nothing else.
            retryable = code.retryable and method.idempotency_key is None
        return ErrorBody(
            code.value, f"{what}; the server's log has it as call {id_}", details=details, retryable=retryable
        )
