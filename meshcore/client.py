"""The client stack: what a call to another process passes through, outermost first.

proxy > deadline > the user's interceptors > retry > balance > channel
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from meshcore.call import Call, Handler, Interceptor, ambient_deadline, compose
from meshcore.errors import MeshError
from meshcore.scope import CallScope, Stopped, deadline_exceeded

MAX_ATTEMPTS = 3
"""How often a call that may have begun is sent in all: enough for a restart in progress, too few to double the load."""

BACK_OFF = 0.05
"""Seconds; the longest pause before an instance is asked a second time. Doubled each time, with full jitter, so that
the callers of a restarting instance do not come back all at once."""


def client_stack(balance: Handler, *, timeout: float, interceptors: Sequence[Interceptor]) -> Handler:
    """The handler under a proxy.

    Args:
        balance: chooses an instance and sends one attempt there.
        timeout: seconds that a call may take, unless its caller has less left.
        interceptors: the user's own.
    """
    return compose(
        balance,
        Deadline(timeout),  # outermost: its time covers all attempts, and whatever the interceptors wait for
        *interceptors,  # see a call once, however often it is sent
        retry,  # outside of balance, so that each attempt chooses anew
    )


class Deadline:
    """Gives a call the least of the caller's deadline, the ambient one and the timeout, and ends it then."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call within its deadline.

        Raises:
            CommunicationError: DEADLINE_EXCEEDED.
        """
        now = time.monotonic()
        deadline = min(call.deadline, ambient_deadline.get(), now + self._timeout)
        call = Call(call.method, call.arguments, call.headers, deadline, call.attempt, call.tried)
        try:
            with CallScope(deadline):
                return await handler(call)
        except Stopped as stopped:
            raise deadline_exceeded(str(call.method), max(deadline - now, 0.0)) from stopped


async def retry(handler: Handler, call: Call) -> Any:
    """Send a call again if that is safe and may help: to an instance that it has not tried yet, if there is one.

    What was certainly not processed goes to each instance in turn. What may have been is sent again only if its method
    is idempotent, and `MAX_ATTEMPTS` times in all. When every instance was tried, those that were get another chance
    after a pause, until there were `MAX_ATTEMPTS`: the only instance may have closed an idle connection or be starting.
    """
    last: MeshError | None = None
    pause = BACK_OFF
    while True:
        try:
            return await handler(call)
        except MeshError as error:
            if error.instance is None:  # nobody was asked: no instance is left that was not tried
                if last is None:
                    raise
                if not call.tried or call.attempt > MAX_ATTEMPTS:  # not tried: nobody is there at all any more
                    raise last from last.__cause__
            else:
                safe = not error.processed or (call.method.idempotent and call.attempt < MAX_ATTEMPTS)
                if not (error.retryable and safe):
                    raise
                last = error
                call = msgspec.structs.replace(call, attempt=call.attempt + 1, tried=(*call.tried, error.instance))
                continue
        await asyncio.sleep(random.uniform(0, pause))
        pause *= 2
        call = msgspec.structs.replace(call, tried=())
