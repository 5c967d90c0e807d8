"""The server stack: what a served call passes through, outermost first.

    refuse (stopping, limits) > scope (deadline, disconnect) > decode > the user's interceptors
        > once (repetitions of calls with a key) > dispatch > implementation

A local call uses the same handler from the user's interceptors on.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from meshcore.body import Receive, Scope
from meshcore.call import HERE, Call, Handler, ambient_attempt, ambient_deadline
from meshcore.codec import EncodeError
from meshcore.current import ambient_call
from meshcore.doors import Workers
from meshcore.envelope import ErrorBody, ErrorCodec, mesh_error_body
from meshcore.errors import Code, ImplementationError, LocalError, MeshError, is_of_a_call
from meshcore.headers import RequestHeaders
from meshcore.interface import Method, ServiceDescription
from meshcore.limit import WINDOW, AdaptiveLimit
from meshcore.request_scope import RequestScope
from meshcore.scope import Stop
from meshcore.stalls import Stalls
from meshcore.wording import encodable

log = logging.getLogger("meshcore.server")

Run = Callable[..., Awaitable[Any]]
Lend = Callable[[], AbstractAsyncContextManager[Any]]


class Dispatch:
    """A handler that runs implementations. What a method needs is decided when the table is built, not per call."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._table: dict[Method, tuple[Run, str]] = {}

    def add(self, service: ServiceDescription, implementation: object, component: str = "") -> None:
        """Serve a service of a component by an object."""
        for method in service.methods:
            function = getattr(implementation, method.name)
            # Asked of the class: advice may have replaced the object's own attribute by a plain function.
            in_loop = inspect.iscoroutinefunction(getattr(type(implementation), method.name))
            run = _keywords_by_name(method, function if in_loop else self._in_thread(function))
            self._table[method] = run, component

    def add_scoped(self, service: ServiceDescription, cls: type, lend: Lend, component: str = "") -> None:
        """Serve a service of a component by an object of a class that is made for each call."""
        for method in service.methods:
            run = functools.partial(self._run_lent, lend, method.name)
            if not inspect.iscoroutinefunction(getattr(cls, method.name)):
                run = functools.partial(self._run_lent_in_thread, lend, method.name)
            self._table[method] = _keywords_by_name(method, run), component

    async def __call__(self, call: Call) -> Any:
        """Run the implementation.

        Raises:
            LocalError: nothing here implements the method.
        """
        found = self._table.get(call.method)
        if found is None:
            raise LocalError(Code.UNIMPLEMENTED, f"{call.method} is not implemented in this process")
        run, component = found
        # Here, innermost, so that an implementation sees what the interceptors made of the call.
        token = ambient_call.set((call, component))
        try:
            return await run(*call.arguments)
        except (MeshError, asyncio.CancelledError) as error:
            self._pass_on(call, error)
            raise
        finally:
            ambient_call.reset(token)

    def _pass_on(self, call: Call, error: MeshError | asyncio.CancelledError) -> None:
        """See what an error that an implementation lets pass is to its caller.

        Raises:
            ImplementationError: none of the caller's: it is of a call that the implementation has made, or the
                implementation has waited for something that was cancelled, and not with it.
        """
        if isinstance(error, MeshError):
            if call.peer == HERE:
                error.passed = True
            elif is_of_a_call(error):
                raise ImplementationError from error
        elif call.peer != HERE and (task := asyncio.current_task()) is not None and not task.cancelling():
            raise ImplementationError from error

    def _in_thread(self, function: Callable[..., Any]) -> Run:
        return functools.partial(self._run_in_thread, function)

    async def _run_in_thread(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        result = await self._workers.run(function, *arguments, **keywords)
        # A plain decorator hides that a method is async: then the thread has only made the coroutine.
        return await result if inspect.isawaitable(result) else result

    async def _run_lent(self, lend: Lend, name: str, *arguments: Any, **keywords: Any) -> Any:
        async with lend() as implementation:
            return await getattr(implementation, name)(*arguments, **keywords)

    async def _run_lent_in_thread(self, lend: Lend, name: str, *arguments: Any, **keywords: Any) -> Any:
        async with lend() as implementation:
            return await self._run_in_thread(getattr(implementation, name), *arguments, **keywords)


def _keywords_by_name(method: Method, run: Run) -> Run:
    """Arguments travel by position; those of keyword-only parameters, which come last, are passed by name."""
    names = tuple(parameter.name for parameter in method.parameters if parameter.keyword_only)
    if not names:
        return run

    async def run_by_name(*arguments: Any) -> Any:
        at = len(arguments) - len(names)
        return await run(*arguments[:at], **dict(zip(names, arguments[at:], strict=True)))

    return run_by_name


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
        self._requests: set[RequestScope] = set()
        self._idle: asyncio.Event | None = None  # while somebody waits for it
        self._stalls = Stalls()
        self.active = 0
        self.draining = False
        self.refused_at = 0.0

    def accept(self, headers: RequestHeaders, scope: Scope, receive: Receive) -> RequestScope:
        """Take on a request, or refuse it before its body is read, so that a refused one costs next to nothing.

        Args:
            headers: of the request.
            scope: of ASGI.
            receive: of ASGI.

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
        return RequestScope(self._requests, headers, granted, scope, receive)

    async def run(self, request: RequestScope, method: Method, arguments: tuple[Any, ...]) -> Any:
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
