"""Sends calls again that failed, as far as that is safe, may help, and does not make an overload worse."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from meshcore.call import Call, Handler, ambient_attempt
from meshcore.errors import Code, MeshError
from meshcore.traffic import Traffic


class Retry:
    """Sends a call again, to an instance that it has not tried yet if there is one.

    What was certainly not processed goes to each instance in turn, and costs nothing (gRPC's transparent retry). What
    may have been is sent again only if its method is idempotent, `attempts` times in all, out of the component's
    budget, and not by a call that is itself made for a retry: else three layers of three attempts are 27 calls. A
    refusal for too much load was not processed either, but counts against the budget: asking a whole overloaded fleet
    is a storm.

    When every instance was tried, those that were get another chance after a pause, until there were `attempts`: the
    only instance may have closed an idle connection or be starting. An instance that said how long to wait
    (`Retry-After`) is not asked before.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Send the call until it succeeds or must not be sent again."""
        traffic, rules = self._traffic, call.rules
        traffic.retries.deposit(traffic.clock())
        last: MeshError | None = None
        longest = rules.back_off
        wait = 0.0
        while True:
            try:
                return await handler(call)
            except MeshError as error:
                if error.instance is None:  # nobody was asked: no instance is left that was not tried
                    if last is None:
                        raise
                    if not call.tried or call.attempt > rules.attempts:  # not tried: nobody is there at all any more
                        raise last from last.__cause__
                else:
                    if not self._may_repeat(call, error):
                        raise
                    last = error
                    wait = max(wait, error.retry_after or 0.0)
                    tried = (*call.tried, error.instance)
                    call = msgspec.structs.replace(call, attempt=call.attempt + 1, tried=tried)
                    continue
            pause = max(wait, traffic.rng.uniform(0, longest))  # full jitter: or all come back at once
            if traffic.clock() + pause >= call.deadline:
                raise last
            await asyncio.sleep(pause)
            longest = min(longest * 2, rules.back_off_max)
            wait = 0.0
            call = msgspec.structs.replace(call, tried=())

    def _may_repeat(self, call: Call, error: MeshError) -> bool:
        if not error.retryable:
            return False
        overload = error.code is Code.RESOURCE_EXHAUSTED
        if not (error.processed or overload):
            return True
        if error.processed and not call.method.idempotent:
            return False
        if call.attempt >= call.rules.attempts or ambient_attempt.get() > 1:
            return False
        return self._traffic.retries.withdraw(self._traffic.clock())
