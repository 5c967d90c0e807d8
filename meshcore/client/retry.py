"""Sends calls again that failed, as far as that is safe, may help, and does not make an overload worse."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from meshcore.core.call import Call, Handler, ambient_attempt
from meshcore.core.errors import Code, MeshError
from meshcore.traffic.traffic import Traffic


class Retry:
    """Sends a call again, to an instance that it has not tried yet if there is one.

    What was certainly not processed goes to each instance in turn, and costs nothing (gRPC's transparent retry). What
    may have been is sent again only if its method is idempotent, `attempts` times in all, out of the component's
    budget, and not by a call that is itself made for a retry: else three layers of three attempts are 27 calls. A
    refusal for too much load was not processed either, but counts against the budget: asking a whole overloaded fleet
    is a storm. A write with an idempotency key that may have begun is sent again as well, but only to the same
    instance: no other knows the key.

    When every instance was tried, those that were get another chance after a pause, until there were `attempts`: the
    only instance may have closed an idle connection or be starting. Refusals for too much load do not count as such. An
    instance that said how long to wait (`Retry-After`) is not asked before.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Send the call until it succeeds or must not be sent again."""
        traffic, rules = self._traffic, call.rules
        traffic.retries.deposit(traffic.clock())
        course: _Course | None = None  # most calls need none
        longest = rules.back_off
        while True:
            try:
                return await handler(call)
            except MeshError as error:
                course = course or _Course(traffic, call.attempt - 1)
                last, following = course.after(error, call)
            if following is not None:
                call = following
                continue
            pause = max(course.wait, traffic.rng.uniform(0, longest))  # full jitter: or all come back at once
            if traffic.clock() + pause >= call.deadline:
                raise last from last.__cause__
            await asyncio.sleep(pause)
            longest = min(longest * 2, rules.back_off_max)
            call = course.again(call)


class _Course:
    """What has become of a call that did not succeed at once.

    Attributes:
        wait: seconds that an instance asked for.
    """

    def __init__(self, traffic: Traffic, attempts: int) -> None:
        self._traffic = traffic
        self._last: MeshError | None = None
        self._home: str | None = None  # where a write with a key may have begun
        self._attempts = attempts  # without refusals for too much load: those are bounded by the budget alone
        self.wait = 0.0

    def after(self, error: MeshError, call: Call) -> tuple[MeshError, Call | None]:
        """What to do after an attempt.

        Returns:
            What its caller is told if nothing better comes, and the call to send at once, None for after a pause.

        Raises:
            MeshError: it must not be sent again.
        """
        last = self._last
        if error.instance is None:  # nobody was asked: no instance is left that was not tried
            if last is None:
                raise error
            spent = self._attempts >= call.rules.attempts and not _overload(last)
            if self._home is not None or not call.tried or spent:  # not tried: nobody is there at all any more
                raise last from last.__cause__
            return last, None
        self._attempts += not _overload(error)
        if not self._may_repeat(call, error):
            if self._home is not None and not error.processed and last is not None:
                raise last from last.__cause__  # it may have begun before: that it was refused now says nothing
            raise error
        if error.processed and not call.method.idempotent:
            self._home = error.instance
        if last is None or self._home is None or error.processed:
            self._last = last = error
        self.wait = max(self.wait, error.retry_after or 0.0)
        if self._home is not None:
            return last, None
        tried = (*call.tried, error.instance)
        return last, msgspec.structs.replace(call, attempt=call.attempt + 1, tried=tried)

    def again(self, call: Call) -> Call:
        """The call to send after a pause."""
        self.wait = 0.0
        if self._home is None:
            return msgspec.structs.replace(call, tried=())
        tried = self._traffic.ejection.all_except(self._home)
        return msgspec.structs.replace(call, attempt=call.attempt + 1, tried=tried)

    def _may_repeat(self, call: Call, error: MeshError) -> bool:
        if not error.retryable:
            return False
        overload, method = _overload(error), call.method
        if not (error.processed or overload or self._home):
            return True
        if error.processed and not (method.idempotent or method.idempotency_key):
            return False
        if ambient_attempt.get() > 1 or (self._attempts >= call.rules.attempts and not overload):
            return False
        return self._traffic.retries.withdraw(self._traffic.clock())


def _overload(error: MeshError) -> bool:
    """Whether an instance refused the call since it has too much to do."""
    return error.code is Code.RESOURCE_EXHAUSTED and not error.processed
