"""The outermost layer of a call: its deadline, its id, and the text of its failure."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec

from meshcore.core.attempt import Attempt
from meshcore.core.call import Call, Handler, ambient_deadline
from meshcore.core.call_scope import CallScope, Stopped, deadline_exceeded
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError, MeshError
from meshcore.core.policy import Rules
from meshcore.wire.headers import IDEMPOTENCY_KEY


class _Timed:
    """A layer that knows the rules of each method and the time.

    Args:
        rules: by method.
        clock: monotonic seconds, the event loop's.
    """

    def __init__(self, rules: Mapping[Method, Rules], clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock


class Deadline(_Timed):
    """Gives a call its rules and the least of the caller's deadline, the ambient one and the timeout; ends it then."""

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call within its deadline.

        Raises:
            CommunicationError: DEADLINE_EXCEEDED.
        """
        rules = self._rules[call.method]
        now = self._clock()
        deadline = min(call.deadline, ambient_deadline.get(), now + rules.timeout)
        if deadline <= now:  # the call that this is made for has no time left: it must cost nothing any more
            raise _too_late(call)
        trail: list[Attempt] = []
        headers = call.headers
        if call.method.idempotency_key is not None and IDEMPOTENCY_KEY not in headers:
            headers = {**headers, IDEMPOTENCY_KEY: uuid.uuid4().hex}  # here, so that all attempts have the same
        call = Call(call.method, call.arguments, headers, deadline, call.attempt, call.tried, rules, trail)
        try:
            with CallScope(deadline):
                return await handler(call)
        except Stopped as stopped:
            error = deadline_exceeded(str(call.method), max(deadline - now, 0.0))
            raise _told(error, trail) from stopped
        except MeshError as error:
            _told(error, trail)
            raise


class LocalDeadline(_Timed):
    """Bounds calls in this process that somebody has set a timeout for. Calls that they make inherit the deadline."""

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
            raise _too_late(call)
        token = ambient_deadline.set(deadline)  # as a server does around what it runs
        try:
            with CallScope(deadline):
                return await handler(msgspec.structs.replace(call, deadline=deadline, rules=rules))
        except Stopped as stopped:
            raise deadline_exceeded(str(call.method), deadline - now) from stopped
        finally:
            ambient_deadline.reset(token)


def _too_late(call: Call) -> CommunicationError:
    text = f"{call.method} was not sent: its caller's deadline had passed"
    return CommunicationError(Code.DEADLINE_EXCEEDED, text, retryable=False, processed=False)


def _told(error: MeshError, trail: Sequence[Attempt]) -> MeshError:
    """The error, with what was tried; as a note as well, so that tracebacks tell it."""
    if trail and not error.attempts:
        error.attempts = tuple(trail)
        if len(trail) > 1:
            error.add_note("tried: " + "; ".join(map(str, trail)))
    return error
