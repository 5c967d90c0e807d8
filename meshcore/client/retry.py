"""Retries calls that failed, where that is safe, may help, and does not increase an overload."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from meshcore.core.call import Call, Handler, ambient_attempt
from meshcore.core.errors import Code, MeshError
from meshcore.traffic.traffic import MAX_SUSPECTS, Traffic


class Retry:
    """Sends a failed call again, to an instance that it has not tried if there is one.

    - A call that was certainly not processed is sent to each instance in turn, without limit and outside of the budget
      (gRPC's transparent retry).
    - A call that may have been processed is sent again only if its method is idempotent, at most `attempts` times in
      all, and only if the component's retry budget allows it. A call that serves a retry is not retried itself:
      otherwise three layers with three attempts each would make 27 calls of one.
    - A call that an overloaded instance refused was not processed, but its retries count against the budget: otherwise
      retries would be sent to all instances of an overloaded fleet.
    - A call that may have been processed and got no answer from two instances is sent again to these two only: it may
      be what crashed them.
    - A write with an idempotency key that may have been processed is sent again, but only to the same instance. The
      others do not know the key.

    When every instance was tried, there is a pause with backoff. Then all instances may be tried again, until there
    were `attempts` attempts (refusals of overloaded instances do not count): the only instance may be restarting, or
    have closed an idle connection. The pause is at least as long as a `Retry-After` that an instance sent.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Send the call until it succeeds or must not be retried."""
        traffic, rules = self._traffic, call.rules
        traffic.retries.deposit(traffic.clock())
        failures: _Failures | None = None  # most calls need none
        last: MeshError | None = None
        longest = rules.back_off
        try:
            while True:
                try:
                    return await handler(call)
                except MeshError as error:
                    failures = failures or _Failures(traffic, call.attempt - 1)
                    last, following = failures.add(error, call)
                    if failures.final:
                        if last is error:
                            raise
                        raise last from last.__cause__
                if following is not None:
                    call = following
                    continue
                # Full jitter, so that the clients of a failed instance do not all retry at the same time.
                pause = max(failures.retry_after, traffic.rng.uniform(0, longest))
                if traffic.clock() + pause >= call.deadline:
                    raise last from last.__cause__
                await asyncio.sleep(pause)
                longest = min(longest * 2, rules.back_off_max)
                call = failures.call_after_pause(call)
        finally:
            failures = last = None  # they hold the error, whose traceback holds this frame and those of the caller


class _Failures:
    """The failed attempts of one call.

    Args:
        traffic: of the component.
        attempts: that the call had before; refusals of overloaded instances do not count.

    Attributes:
        retry_after: seconds that an instance asked for.
        final: whether the call must not be sent again.
    """

    def __init__(self, traffic: Traffic, attempts: int) -> None:
        self._traffic = traffic
        self._attempts = attempts
        self._last: MeshError | None = None
        self._only: tuple[str, ...] = ()  # the instances that alone may be asked again, empty if all may be
        self.retry_after = 0.0
        self.final = False

    def add(self, error: MeshError, call: Call) -> tuple[MeshError, Call | None]:  # noqa: PLR0911 - one for each case
        """Decide what follows a failed attempt.

        Returns:
            The error for the caller if no retry succeeds, and the call to send now, None to send one after a pause.
            That error is final if the call must not be sent again.
        """
        last = self._last
        if error.instance is None:  # no instance was asked: all were tried
            if last is None:
                return self._end(error)
            spent = self._attempts >= call.rules.attempts and not _is_overload(last)
            if self._only or not call.tried or spent:  # not tried: there are no instances any more
                return self._end(last)
            return last, None
        self._attempts += not _is_overload(error)
        if not self._may_retry(call, error):
            if self._only and not error.processed and last is not None:
                return self._end(last)  # this attempt was refused, but an earlier one may have been processed
            return self._end(error)
        if error.processed:
            self._only = self._bound(call, error.instance)
        if last is None or not self._only or error.processed:
            self._last = last = error
        self.retry_after = max(self.retry_after, error.retry_after or 0.0)
        if self._only:
            return last, None
        tried = (*call.tried, error.instance)
        return last, msgspec.structs.replace(call, attempt=call.attempt + 1, tried=tried)

    def _end(self, error: MeshError) -> tuple[MeshError, None]:
        """What `add` returns for a call that is not sent again. Raised there, the error would hold itself."""
        self.final = True
        return error, None

    def call_after_pause(self, call: Call) -> Call:
        """The call to send after a pause: to any instance, or to the only one that may be asked."""
        self.retry_after = 0.0
        if not self._only:
            return msgspec.structs.replace(call, tried=())
        tried = self._traffic.ejection.all_except(self._only)
        return msgspec.structs.replace(call, attempt=call.attempt + 1, tried=tried)

    def _bound(self, call: Call, instance: str) -> tuple[str, ...]:
        """The instances that alone may be asked again after an attempt that may have been processed."""
        if not call.method.idempotent:
            return (instance,)  # the others do not know the idempotency key
        suspects = self._traffic.suspects(call.trail)
        if len(suspects) < MAX_SUSPECTS:
            return ()
        running = {attempt.instance for attempt in call.trail if attempt.seconds is None}  # by a hedge, or its rival
        return tuple(each for each in suspects if each not in running) or (instance,)

    def _may_retry(self, call: Call, error: MeshError) -> bool:
        if not error.retryable:
            return False
        overload, method = _is_overload(error), call.method
        if not (error.processed or overload or self._only):
            return True
        if error.processed and not (method.idempotent or method.idempotency_key):
            return False
        if ambient_attempt.get() > 1 or (self._attempts >= call.rules.attempts and not overload):
            return False
        return self._traffic.retries.withdraw(self._traffic.clock())


def _is_overload(error: MeshError) -> bool:
    """Whether an overloaded instance refused the call."""
    return error.code is Code.RESOURCE_EXHAUSTED and not error.processed
