"""The client stack: what a call to another process passes through, outermost first.

proxy > limit > deadline > the user's interceptors > hedge > retry > balance > channel
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec

from meshcore.attempt import Attempt
from meshcore.call import Call, Handler, Interceptor, ambient_deadline, compose
from meshcore.errors import Code, CommunicationError, LocalError, MeshError
from meshcore.headers import IDEMPOTENCY_KEY
from meshcore.hedge import Hedge
from meshcore.interface import Method
from meshcore.policy import Rules
from meshcore.retry import Retry
from meshcore.scope import CallScope, Stopped, deadline_exceeded
from meshcore.traffic import Traffic


def client_stack(
    balance: Handler,
    traffic: Traffic,
    *,
    rules: Mapping[Method, Rules],
    interceptors: Sequence[Interceptor],
    limit: Limit,
    resilient: bool = True,
) -> Handler:
    """The handler under a proxy.

    Args:
        balance: chooses an instance and sends one attempt there.
        traffic: what the component's calls share.
        rules: the numbers that govern each method.
        interceptors: the user's own.
        limit: of all calls of the mesh.
        resilient: whether to repeat what failed or is slow.
    """
    again: list[Interceptor] = []
    if resilient:
        again = [
            Hedge(traffic),  # outside of retry: a slow call is slow with its retries and pauses
            Retry(traffic),  # outside of balance, so that each attempt chooses anew
        ]
    return compose(
        balance,
        limit,  # outermost: what is refused costs nothing
        Deadline(rules, traffic.clock),  # its time covers all attempts, and whatever the interceptors wait for
        *interceptors,  # see a call once, however often it is sent; `call.trail` shows the attempts
        *again,
    )


class Limit:
    """Refuses calls when the mesh has very many under way: else those that are not answered pile up in memory.

    Args:
        calls: that may be under way at once.
    """

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._under_way = 0

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call if there is room.

        Raises:
            LocalError: RESOURCE_EXHAUSTED.
        """
        if self._under_way >= self._calls:
            text = f"{call.method}: {self._calls} calls of this mesh are under way already (setting max_calls)"
            raise LocalError(Code.RESOURCE_EXHAUSTED, text)
        self._under_way += 1
        try:
            return await handler(call)
        finally:
            self._under_way -= 1


class Deadline:
    """Gives a call its rules and the least of the caller's deadline, the ambient one and the timeout; ends it then.

    Args:
        rules: by method.
        clock: monotonic seconds, the event loop's.
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


class LocalDeadline:
    """Bounds calls within the process whose timeout somebody has set; what they call has no more time than they have.

    Args:
        rules: by method.
        clock: monotonic seconds, the event loop's.
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
