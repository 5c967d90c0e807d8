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
import math
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any

import msgspec

from meshcore.client.timeouts import Timeouts
from meshcore.core.call import Call, Handler, ambient_attempt
from meshcore.core.description import Method
from meshcore.traffic.budget import Budget
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
    """The layer of the client stack that hedges calls.

    Args:
        traffic: what all calls to the component share.
        timeouts: of the mesh: when its calls are slow, and when they hang.
    """

    def __init__(self, traffic: Traffic, timeouts: Timeouts) -> None:
        self._traffic = traffic
        self._timeouts = timeouts
        self._paces: dict[Method, _Pace] = {}

    def __call__(self, handler: Handler, call: Call) -> Awaitable[Any]:
        """Send the call; send it again if it is slow or hangs.

        No coroutine function, so that a call which cannot be hedged passes without one: that saves 0.2 us.
        """
        if not call.method.idempotent or call.rules.attempts < 2 or ambient_attempt.get() > 1:  # noqa: PLR2004
            return handler(call)
        return self._hedged(handler, call)

    async def _hedged(self, handler: Handler, call: Call) -> Any:
        traffic, rules = self._traffic, call.rules
        pace = self._paces.get(call.method)
        if pace is None:
            pace = self._paces[call.method] = _Pace(traffic, call.method)
        begin = traffic.clock()
        if begin >= pace.until or rules.max_extra_load != pace.share:
            pace.update(rules.max_extra_load, begin)
        if pace.budget is not None:
            pace.budget.deposit(begin)
        timeouts = self._timeouts
        task = asyncio.current_task(timeouts.loop)
        assert task is not None  # noqa: S101 - a coroutine that asyncio runs
        hang_delay = min(pace.hang_delay, (call.deadline - begin) / rules.attempts)
        race = _Race(
            *(begin + hang_delay, traffic, handler, call, pace.sure, hang_delay, task, task.cancelling()),
            copy_context(),
        )
        delay = pace.hedge_delay
        if delay is not None and delay < hang_delay:
            race.at, race.hang_at = begin + delay, begin + hang_delay
        timeouts.add(race)
        answered: asyncio.Task[Any] | None = None
        result: Any = None
        try:
            # In the task of the caller: so a call that is not hedged costs no task.
            result = await handler(call)
        except BaseException as error:
            answered = await race.answered_hedge(error)
            if answered is None:
                raise
        finally:
            timeouts.pending.discard(race)
            race.over = True
            if race.hedges:
                await race.cancel_hedges()
        if answered is not None:
            result = answered.result()
        elif race.winner is not None:  # both were answered at once: take back the cancellation
            race.task.uncancel()
        pace.latency.observe(traffic.clock() - (race.began or begin))
        return result


class _Pace:
    """When a call of one method is slow, and when it hangs.

    Attributes:
        latency: of the method.
        share: the value of `max_extra_load` that this is for.
        hedge_delay: seconds after which a call is slow, None if slow calls are not hedged.
        hang_delay: seconds after which a call hangs, unless its deadline is near.
        sure: whether enough is known of the method to say that an instance hangs that answers other calls.
        budget: of hedges of slow calls, None if they are not hedged.
        until: when all of this must be worked out anew.
    """

    def __init__(self, traffic: Traffic, method: Method) -> None:
        self._traffic = traffic
        self.latency = traffic.latency(method)
        self.share = 0.0
        self.hedge_delay: float | None = None
        self.hang_delay = _SHORTEST_HANG
        self.sure = False
        self.budget: Budget | None = None
        self.until = -math.inf

    def update(self, share: float, now: float) -> None:
        """Work it out for a value of `max_extra_load`."""
        latency = self.latency
        usual = latency.quantile(1.0 - share if share else _USUAL_QUANTILE, now)
        self.sure = usual is not None
        if usual is not None:
            self.hang_delay = max(_SHORTEST_HANG, _HANG_FACTOR * usual)
        else:
            self.hang_delay = max(_SHORTEST_HANG, _EARLY_HANG_FACTOR * (latency.typical(now) or 0.0))
        self.hedge_delay = max(usual, _SHORTEST_DELAY) if share and usual is not None else None
        self.budget = self._traffic.hedges(share) if share else None
        self.share = share
        self.until = latency.until if self.sure else latency.typical_until


_FINAL = frozenset({Outcome.SUCCEEDED, Outcome.IGNORABLE})


def _answered(attempt: asyncio.Task[Any], method: Method) -> bool:
    """Whether an instance answered. A declared exception is an answer, too."""
    if attempt.cancelled():
        return False
    error = attempt.exception()
    return error is None or outcome_of(error, method) is Outcome.SUCCEEDED


class _Race(msgspec.Struct, eq=False):
    """The first attempt of a call and its hedges. A `Struct` is made in 0.14 us, an object with `__init__` in 0.24.

    Attributes:
        at: when it hangs, or is slow; infinite once that has come.
        traffic: of the component.
        handler: sends an attempt.
        call: the call.
        sure: as that of the pace.
        hang_delay: seconds after which it hangs.
        task: runs the first attempt.
        cancelling: the cancellations of the task before.
        context: for the hedges, which the timer sends: its own is that of any call, since all share it. 0.02 us.
        hang_at: when it hangs, while it is not yet slow.
        hedges: the further attempts.
        winner: the hedge that was answered first, if it was before the first attempt ended.
        over: whether the first attempt has ended.
        began: when the attempt began that was answered, if the call hung before; None otherwise. The time that a hung
            instance cost is not what the method usually takes.
        begun: when each hedge began, of a call that hung.
    """

    at: float
    traffic: Traffic
    handler: Handler
    call: Call
    sure: bool
    hang_delay: float
    task: asyncio.Task[Any]
    cancelling: int
    context: Context
    hang_at: float | None = None
    hedges: tuple[asyncio.Task[Any], ...] = ()
    winner: asyncio.Task[Any] | None = None
    over: bool = False
    began: float | None = None
    begun: dict[asyncio.Task[Any], float] | None = None

    def expire(self) -> None:
        """Send a hedge: the call is slow, or it hangs."""
        if self.hang_at is None:
            self._on_hang()
            return
        self.at, self.hang_at = self.hang_at, None
        self._send(self.traffic.hedges(self.call.rules.max_extra_load).withdraw, hung=False)

    def _on_hang(self) -> None:
        """Send a hedge, and set the time of the next one if the call may have more attempts."""
        now = self.traffic.clock()
        for attempt in self.call.trail:
            # A call with little time left reaches this point early. That says nothing about the instance.
            if attempt.seconds is not None or now - attempt.began < _SHORTEST_HANG:
                continue
            ejection = self.traffic.ejection
            if self.sure or ejection.stopped_since(attempt.instance, attempt.began, now):
                attempt.hangs = True
                ejection.hang(attempt.instance, attempt.began, now)
        if len(self.hedges) + 1 < self.call.rules.attempts:
            self.at = self.task.get_loop().time() + self.hang_delay
            self._send(self.traffic.retries.withdraw, hung=True)

    def _send(self, withdraw: Callable[[float], bool], *, hung: bool) -> None:
        """Send a hedge if there is another instance and the budget allows it."""
        asked = {attempt.instance for attempt in self.call.trail}
        if self.over or not asked:  # nothing was sent yet: the call waits for an instance
            return
        if not self.traffic.ejection.has_other(asked):
            return
        if len(asked) >= MAX_SUSPECTS and len(self.traffic.suspects(self.call.trail)) >= MAX_SUSPECTS:
            return  # the call itself may stop whoever gets it
        if not withdraw(self.traffic.clock()):
            return
        call = msgspec.structs.replace(self.call, attempt=len(self.call.trail) + 1, tried=tuple(asked))
        hedge = self.task.get_loop().create_task(
            self._run_hedge(call), name=f"hedge of {call.method}", context=self.context
        )
        hedge.add_done_callback(self._on_end)
        self.hedges = (*self.hedges, hedge)
        if hung:
            self.begun = {**(self.begun or {}), hedge: self.traffic.clock()}

    async def _run_hedge(self, call: Call) -> Any:
        return await self.handler(call)

    def _on_end(self, hedge: asyncio.Task[Any]) -> None:
        """Cancel the first attempt if a hedge was answered."""
        if not _answered(hedge, self.call.method) or self.over or self.winner is not None:
            return
        self.winner = hedge
        self.task.cancel()

    async def answered_hedge(self, error: BaseException) -> asyncio.Task[Any] | None:
        """The hedge that answers a call whose first attempt failed or was cancelled, None if there is none."""
        winner = self.winner
        if winner is not None:
            if self.task.uncancel() <= self.cancelling:
                self.began = self.begun.get(winner) if self.begun else None
                return winner
            return None  # the caller cancelled the call, too
        if outcome_of(error, self.call.method) in _FINAL:  # an answer, or the caller cancelled the call
            return None
        left = {hedge for hedge in self.hedges if not hedge.done()}
        self.over = True  # a hedge that ends must not cancel this task any more
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for hedge in done:
                if _answered(hedge, self.call.method):
                    self.began = self.begun.get(hedge) if self.begun else None
                    return hedge
        return None

    async def cancel_hedges(self) -> None:
        """Cancel those that are still under way."""
        left = [hedge for hedge in self.hedges if not hedge.done()]
        for hedge in left:
            hedge.cancel()
        if left:
            await asyncio.wait(left)
