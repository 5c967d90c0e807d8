"""Gives calls their deadline, and their errors the list of attempts; bounds how many calls are in flight."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec

from meshcore.client.timeouts import Timeouts
from meshcore.core.attempt import Attempt
from meshcore.core.call import CALLER_KEY, Call, Handler, ambient_deadline
from meshcore.core.context.call_scope import CallScope, Stopped, deadline_exceeded
from meshcore.core.context.current_call import TRACEPARENT, ambient_trace
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError, LocalError, MeshError
from meshcore.core.policy import Rules
from meshcore.telemetry.logs.slow_calls import SlowLines
from meshcore.telemetry.tables import ClientTable
from meshcore.wire.headers import IDEMPOTENCY_KEY


class Limit(Timeouts):
    """The calls of a mesh in flight, and how many there may be: calls to a server that hangs would fill the memory.

    Args:
        calls: that may be in flight at once.

    Attributes:
        hedges: when these calls are slow, and when they hang.
        slow_lines: how often it is logged that a call was slow.
    """

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls
        self.slow_lines = SlowLines()
        self.hedges = Timeouts(patient=True)  # that an instance hangs is said of it, and not of this process

    def close(self) -> None:
        """Drop the timers if no call is in flight."""
        super().close()
        self.hedges.close()

    def refusal(self, call: Call) -> LocalError:
        """The error of a call when there are too many."""
        text = f"{call.method}: {self.calls} calls of this mesh are in flight already (setting max_calls)"
        return LocalError(Code.RESOURCE_EXHAUSTED, text)


class _InFlight(msgspec.Struct, eq=False):
    """A call in flight, which is cancelled at its deadline. Cancellations with another origin stay what they are.

    It does what a `CallScope` does for this one reason, without a timer of its own. A `Struct` is made in 0.07 us, an
    object with `__init__` in 0.17.

    Attributes:
        at: its deadline.
        task: runs it, None when it has ended.
        cancelling: the cancellations of the task before.
        expired: whether it was cancelled here.
    """

    at: float
    task: asyncio.Task[Any] | None
    cancelling: int
    expired: bool = False

    def expire(self) -> None:
        """Cancel the call."""
        if self.task is not None:
            self.expired = True
            self.task.cancel()

    def end(self) -> bool:
        """Take back the cancellation when the call has ended.

        Returns:
            Whether a cancellation that ended it came from here alone.
        """
        task, self.task = self.task, None  # in a traceback that the task holds, it would hold itself
        return self.expired and task is not None and task.uncancel() <= self.cancelling


class Deadline:
    """Gives a call its rules, its deadline and the headers of its trace, and cancels it at its deadline.

    Refuses it if very many are in flight.

    The deadline is the earliest of three: the call's own, that of the served call that this one is made for, and the
    timeout of the rules.

    Args:
        rules: the numbers that govern each method.
        clock: the monotonic time of the event loop, in seconds.
        limit: of the calls in flight, shared by the whole mesh.
        calls: counts them.
        ended: told of each call that has ended, with its begin and its end; not of those that their callers gave up.
    """

    def __init__(
        self,
        rules: Mapping[Method, Rules],
        clock: Callable[[], float],
        limit: Limit,
        calls: ClientTable | None = None,
        ended: Callable[[Call, float, float], None] | None = None,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._limit = limit
        self._calls = ClientTable("") if calls is None else calls
        self._ended = ended or _unnoticed
        self._watch = self._calls.watch

    async def __call__(self, handler: Handler, call: Call) -> Any:  # noqa: C901 - a function for a part takes 0.1 us
        """Run the call within its deadline.

        Raises:
            CommunicationError: DEADLINE_EXCEEDED.
            LocalError: RESOURCE_EXHAUSTED, too many calls are in flight.
        """
        limit, method = self._limit, call.method
        if len(limit.pending) >= limit.calls:  # first, so that a refused call costs nothing
            raise self._refused(limit.refusal(call), call)
        rules = self._rules[method]
        now = self._clock()
        deadline = now + rules.timeout
        if deadline > call.deadline or deadline > ambient_deadline.get():  # min() of all takes 0.1 us more
            deadline = min(call.deadline, ambient_deadline.get(), deadline)
        if deadline <= now:  # the served call that this one is made for has no time left: do no more work for it
            raise self._refused(_expired(call), call)
        trail: list[Attempt] = []
        headers = call.headers
        if method.idempotency_key is not None and IDEMPOTENCY_KEY not in headers and CALLER_KEY not in headers:
            headers = {**headers, IDEMPOTENCY_KEY: uuid.uuid4().hex}  # the same for all attempts
        trace = ambient_trace.get()
        if trace is not None and TRACEPARENT not in headers:
            headers = {**trace, **headers}
        call = Call(method, call.arguments, headers, deadline, call.attempt, call.tried, rules, trail)
        task = asyncio.current_task(limit.loop)  # before Python 3.12, to find the loop is a system call
        if task is None:
            raise RuntimeError("a call must run in a task of the mesh's event loop")
        in_flight = _InFlight(deadline, task, task.cancelling())
        del task  # as in `end`
        limit.add(in_flight)
        try:
            result = await handler(call)
        except BaseException as error:
            limit.pending.discard(in_flight)
            if in_flight.end() and isinstance(error, asyncio.CancelledError):
                late = deadline_exceeded(str(method), max(deadline - now, 0.0))
                self._failed(late, call, now)
                self._ended(call, now, self._clock())
                raise _with_attempts(late, trail) from error
            self._failed(error, call, now)
            if isinstance(error, MeshError):
                self._ended(call, now, self._clock())
                _with_attempts(error, trail)
            raise
        limit.pending.discard(in_flight)
        if in_flight.expired:
            in_flight.end()
        ended = self._clock()
        calls = self._calls[method]
        calls.succeed(ended - now, trail)
        self._ended(call, now, ended)
        if self._watch.on:
            self._watch.made(calls, call, now, ended - now, None)
        return result

    def _failed(self, error: BaseException, call: Call, begun: float, *, sent: bool = True) -> None:
        """Count a call that failed."""
        calls, seconds = self._calls[call.method], self._clock() - begun if sent else 0.0
        calls.failed(error, call.method, seconds, call.trail if sent else ())
        if self._watch.on:
            self._watch.made(calls, call, begun, seconds, error)

    def _refused(self, error: MeshError, call: Call) -> MeshError:
        """The error of a call that is not sent, counted."""
        self._failed(error, call, 0.0, sent=False)
        return error


class LocalDeadline:
    """Gives a call within the process a deadline if its rules have a timeout. Calls that it makes inherit it.

    Args:
        rules: the numbers that govern each method.
        clock: the monotonic time of the event loop, in seconds.
    """

    def __init__(self, rules: Mapping[Method, Rules], clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call within its deadline.

        Raises:
            CommunicationError: DEADLINE_EXCEEDED.
        """
        rules = self._rules[call.method]
        if rules.timeout == inf:
            return await handler(call)
        now = self._clock()
        deadline = min(call.deadline, ambient_deadline.get(), now + rules.timeout)
        if deadline <= now:
            raise _expired(call)
        token = ambient_deadline.set(deadline)  # as a server does for an implementation
        try:
            with CallScope(deadline):
                return await handler(msgspec.structs.replace(call, deadline=deadline, rules=rules))
        except Stopped as stopped:
            raise deadline_exceeded(str(call.method), deadline - now) from stopped
        finally:
            ambient_deadline.reset(token)


def _unnoticed(call: Call, begun: float, now: float) -> None:
    """Take no notice of a call."""


def _expired(call: Call) -> CommunicationError:
    text = f"{call.method} was not sent: its caller's deadline had passed"
    return CommunicationError(Code.DEADLINE_EXCEEDED, text, retryable=False, processed=False)


def _with_attempts(error: MeshError, trail: Sequence[Attempt]) -> MeshError:
    """The error with the attempts of its call: as an attribute, and as a note, which tracebacks show."""
    if trail and not error.attempts:
        error.attempts = tuple(trail)
        if len(trail) > 1:
            error.add_note("tried: " + "; ".join(map(str, trail)))
    return error
