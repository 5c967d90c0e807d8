"""Hedges calls: sends a second attempt while the first is slow, and takes the first answer.

Only calls of idempotent methods are hedged. There are two occasions:

- The call is slower than nearly all calls of its method. `max_extra_load` is the share of calls that may be hedged for
  that reason (Finagle's number): 0.01 hedges calls slower than the 99th percentile, for at most 1 % more load.
- The call hangs: it takes a share of the time that it has, or ten times the usual latency, or three times the typical
  one while few calls of the method are known. Then another instance is asked out of the retry budget. The first attempt
  continues, so a call that is slow for a good reason still succeeds.

While two of the instances that were asked answer nothing at all, no further one is asked: the call may be the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from meshcore.core.call import Call, Handler, ambient_attempt
from meshcore.core.description import Method
from meshcore.traffic.outcome import Outcome, outcome_of
from meshcore.traffic.traffic import MAX_SUSPECTS, Traffic

_SHORTEST_DELAY = 0.001
"""Seconds. An earlier hedge costs more than it saves (Finagle)."""

_HANG_FACTOR = 10.0
_SHORTEST_HANG = 0.25
"""A call hangs if it takes ten times the usual latency of its method, and at least a quarter of a second."""

_EARLY_HANG_FACTOR = 3.0
"""And while a method has too few calls for its usual latency, it hangs if it takes three times its typical one. So a
hanging instance costs a quarter of a second in the first seconds, too, and callers of few calls. A method that always
takes longer sends some calls twice until the first of them are answered."""

_USUAL_QUANTILE = 0.99
"""The quantile of latency that is usual, where `max_extra_load` does not name one."""


class Hedge:
    """The layer of the client stack that hedges calls."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Send the call; send it again if it is slow or hangs."""
        traffic, rules = self._traffic, call.rules
        if not call.method.idempotent or rules.attempts < 2 or ambient_attempt.get() > 1:  # noqa: PLR2004
            return await handler(call)
        latency = traffic.latency(call.method)
        begin = traffic.clock()
        share = rules.max_extra_load
        usual = latency.quantile(1.0 - share if share else _USUAL_QUANTILE, begin)
        if usual is not None:
            hang_delay = max(_SHORTEST_HANG, _HANG_FACTOR * usual)
        else:
            hang_delay = max(_SHORTEST_HANG, _EARLY_HANG_FACTOR * (latency.typical(begin) or 0.0))
        hang_delay = min(hang_delay, (call.deadline - begin) / rules.attempts)
        hedge_delay = None
        if share:
            traffic.hedges(share).deposit(begin)
            hedge_delay = usual
        race = _Race(traffic, handler, call, hedge_delay, hang_delay, sure=usual is not None)
        result = await race.run(begin)
        latency.observe(traffic.clock() - (race.began or begin))
        return result


_FINAL = frozenset({Outcome.SUCCEEDED, Outcome.IGNORABLE})


def _answered(attempt: asyncio.Task[Any], method: Method) -> bool:
    """Whether an instance answered. A declared exception is an answer, too."""
    if attempt.cancelled():
        return False
    error = attempt.exception()
    return error is None or outcome_of(error, method) is Outcome.SUCCEEDED


class _Race:
    """The first attempt of a call and its hedges.

    The first attempt runs in the task of the caller. So a call that is not hedged costs a timer, but no task.

    Args:
        traffic: of the component.
        handler: sends an attempt.
        call: the call.
        hedge_delay: seconds after which the call is slow, None if slow calls are not hedged.
        hang_delay: seconds after which the call hangs.
        sure: whether enough is known of the method to say that an instance hangs that answers other calls.

    Attributes:
        began: when the attempt began that was answered, if the call hung before; None otherwise. The time that a hung
            instance cost is not what the method usually takes.
    """

    def __init__(
        self,
        traffic: Traffic,
        handler: Handler,
        call: Call,
        hedge_delay: float | None,
        hang_delay: float,
        *,
        sure: bool,
    ) -> None:
        self._traffic = traffic
        self._handler = handler
        self._call = call
        self._hedge_delay = None if hedge_delay is None else max(hedge_delay, _SHORTEST_DELAY)
        self._hang_delay = hang_delay
        self._sure = sure
        self._hedges: list[asyncio.Task[Any]] = []
        self._began: dict[asyncio.Task[Any], float] | None = None  # by hedge, of a call that hung
        self._winner: asyncio.Task[Any] | None = None
        self._over = False
        self.began: float | None = None

    async def run(self, begin: float) -> Any:
        """Return the first answer; raise the first error if there is no answer."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that asyncio runs
        self._task = task
        self._cancelling = task.cancelling()
        delay = self._hedge_delay
        if delay is not None and delay < self._hang_delay:
            self._timer = task.get_loop().call_at(begin + delay, self._on_slow, begin)
        else:
            self._timer = task.get_loop().call_at(begin + self._hang_delay, self._on_hang)
        try:
            result = await self._handler(self._call)
        except BaseException as error:
            answered = await self._answered_hedge(error)
            if answered is None:
                raise
            return answered.result()
        finally:
            self._over = True
            self._timer.cancel()
            if self._hedges:
                await self._cancel_hedges()
        if self._winner is not None:  # both were answered at once: take back the cancellation
            task.uncancel()
        return result

    def _on_slow(self, begin: float) -> None:
        traffic = self._traffic
        loop = self._task.get_loop()
        self._timer = loop.call_at(max(begin + self._hang_delay, loop.time()), self._on_hang)
        self._send(traffic.hedges(self._call.rules.max_extra_load).withdraw, hung=False)

    def _on_hang(self) -> None:
        """Send a hedge, and set the timer for the next one if the call may have more attempts."""
        loop = self._task.get_loop()
        now = self._traffic.clock()
        for attempt in self._call.trail:
            # A call with little time left reaches this point early. That says nothing about the instance.
            if attempt.seconds is not None or now - attempt.began < _SHORTEST_HANG:
                continue
            ejection = self._traffic.ejection
            if self._sure or ejection.stopped_since(attempt.instance, attempt.began, now):
                attempt.hangs = True
                ejection.hang(attempt.instance, attempt.began, now)
        if len(self._hedges) + 1 < self._call.rules.attempts:
            self._timer = loop.call_at(loop.time() + self._hang_delay, self._on_hang)
            self._send(self._traffic.retries.withdraw, hung=True)

    def _send(self, withdraw: Callable[[float], bool], *, hung: bool) -> None:
        """Send a hedge if there is another instance and the budget allows it."""
        asked = {attempt.instance for attempt in self._call.trail}
        if self._over or not asked:  # nothing was sent yet: the call waits for an instance
            return
        if not self._traffic.ejection.has_other(asked):
            return
        if len(asked) >= MAX_SUSPECTS and len(self._traffic.suspects(self._call.trail)) >= MAX_SUSPECTS:
            return  # the call itself may stop whoever gets it
        if not withdraw(self._traffic.clock()):
            return
        call = msgspec.structs.replace(self._call, attempt=len(self._call.trail) + 1, tried=tuple(asked))
        hedge = self._task.get_loop().create_task(self._run_hedge(call), name=f"hedge of {call.method}")
        hedge.add_done_callback(self._on_end)
        self._hedges.append(hedge)
        if hung:
            self._began = {**(self._began or {}), hedge: self._traffic.clock()}

    async def _run_hedge(self, call: Call) -> Any:
        return await self._handler(call)

    def _on_end(self, hedge: asyncio.Task[Any]) -> None:
        """Cancel the first attempt if a hedge was answered."""
        if not _answered(hedge, self._call.method) or self._over or self._winner is not None:
            return
        self._winner = hedge
        self._task.cancel()

    async def _answered_hedge(self, error: BaseException) -> asyncio.Task[Any] | None:
        """The hedge that answers a call whose first attempt failed or was cancelled, None if there is none."""
        winner = self._winner
        if winner is not None:
            if self._task.uncancel() <= self._cancelling:
                self.began = self._began.get(winner) if self._began else None
                return winner
            return None  # the caller cancelled the call, too
        if outcome_of(error, self._call.method) in _FINAL:  # an answer, or the caller cancelled the call
            return None
        left = {hedge for hedge in self._hedges if not hedge.done()}
        self._over = True  # a hedge that ends must not cancel this task any more
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for hedge in done:
                if _answered(hedge, self._call.method):
                    self.began = self._began.get(hedge) if self._began else None
                    return hedge
        return None

    async def _cancel_hedges(self) -> None:
        left = [hedge for hedge in self._hedges if not hedge.done()]
        for hedge in left:
            hedge.cancel()
        if left:
            await asyncio.wait(left)
