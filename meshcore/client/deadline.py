"""Gives calls their deadline, and their errors the list of attempts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec

from meshcore.core.attempt import Attempt
from meshcore.core.call import CALLER_KEY, Call, Handler, ambient_deadline
from meshcore.core.call_scope import CallScope, Stopped, deadline_exceeded
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError, MeshError
from meshcore.core.policy import Rules
from meshcore.wire.headers import IDEMPOTENCY_KEY


class _Timed:
    """What both layers need.

    Args:
        rules: the numbers that govern each method.
        clock: the monotonic time of the event loop, in seconds.
    """

    def __init__(self, rules: Mapping[Method, Rules], clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock


class Deadline(_Timed):
    """Gives a call its rules and its deadline, and cancels it then.

    The deadline is the earliest of three: the call's own, that of the served call that this one is made for, and the
    timeout of the rules.
    """

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call within its deadline.

        Raises:
            CommunicationError: DEADLINE_EXCEEDED.
        """
        rules = self._rules[call.method]
        now = self._clock()
        deadline = min(call.deadline, ambient_deadline.get(), now + rules.timeout)
        if deadline <= now:  # the served call that this one is made for has no time left: do no more work for it
            raise _expired(call)
        trail: list[Attempt] = []
        headers = call.headers
        if call.method.idempotency_key is not None and IDEMPOTENCY_KEY not in headers and CALLER_KEY not in headers:
            headers = {**headers, IDEMPOTENCY_KEY: uuid.uuid4().hex}  # the same for all attempts
        call = Call(call.method, call.arguments, headers, deadline, call.attempt, call.tried, rules, trail)
        try:
            with CallScope(deadline):
                return await handler(call)
        except Stopped as stopped:
            error = deadline_exceeded(str(call.method), max(deadline - now, 0.0))
            raise _with_attempts(error, trail) from stopped
        except MeshError as error:
            _with_attempts(error, trail)
            raise


class LocalDeadline(_Timed):
    """Gives a call within the process a deadline if its rules have a timeout. Calls that it makes inherit it."""

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
