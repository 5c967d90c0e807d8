"""Sends a call a second time when the first is slow, and takes the answer that comes first.

Only calls that may be executed twice. When: as late as the slowest `max_extra_load` of the method's calls take. That is
Finagle's one number: 0.01 means beyond the 99th percentile, and then at most so many more calls. And whatever it says,
nobody waits for an instance that hangs: after a share of the call's time, or ten times what is usual, another one is
asked out of the retry budget. The first attempt goes on meanwhile, so a call that is slow for a reason still ends.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from meshcore.core.call import Call, Handler, ambient_attempt
from meshcore.core.description import Method
from meshcore.traffic.outcome import Outcome, outcome_of
from meshcore.traffic.traffic import Traffic

_SHORTEST = 0.001
"""Seconds; a hedge before that costs more than it saves (Finagle)."""

_HANGS = 10.0
_HANGS_AT_LEAST = 0.25
"""A call that takes ten times what nearly all of its method take, and a quarter of a second, probably hangs."""

_LATEST = 86_400.0
"""Seconds; what takes a day hangs, also if its caller would wait for ever."""

_USUAL = 0.99
"""The share of the calls that tells what is usual, where `max_extra_load` does not say it."""


class Hedge:
    """The interceptor."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call, and perhaps others like it."""
        traffic, rules = self._traffic, call.rules
        if not call.method.idempotent or rules.attempts < 2 or ambient_attempt.get() > 1:  # noqa: PLR2004
            return await handler(call)
        latency = traffic.latency(call.method)
        begin = traffic.clock()
        share = rules.max_extra_load
        usual = latency.quantile(1.0 - share if share else _USUAL, begin)
        late = min((call.deadline - begin) / rules.attempts, _LATEST)
        if usual is not None:
            late = min(late, max(_HANGS_AT_LEAST, _HANGS * usual))
        soon = None
        if share:
            traffic.hedges(share).deposit(begin)
            soon = usual
        result = await _Race(traffic, handler, call, soon, late).run(begin)
        latency.observe(traffic.clock() - begin)
        return result


_FINAL = frozenset({Outcome.SUCCEEDED, Outcome.IGNORABLE})


def _answered(copy: asyncio.Task[Any], method: Method) -> bool:
    """Whether an instance did its work; an exception that the interface declares is an answer as well."""
    if copy.cancelled():
        return False
    error = copy.exception()
    return error is None or outcome_of(error, method) is Outcome.SUCCEEDED


class _Race:
    """A call and its copies. The call runs in its caller's task, so that a healthy one pays for a timer and no task."""

    def __init__(self, traffic: Traffic, handler: Handler, call: Call, soon: float | None, late: float) -> None:
        self._traffic = traffic
        self._handler = handler
        self._call = call
        self._soon = None if soon is None else max(soon, _SHORTEST)
        self._late = late
        self._copies: list[asyncio.Task[Any]] = []
        self._won: asyncio.Task[Any] | None = None
        self._over = False

    async def run(self, begin: float) -> Any:
        """The first answer, or the first error if there is none."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that asyncio runs
        self._task = task
        self._cancelling = task.cancelling()
        soon = self._soon
        if soon is not None and soon < self._late:
            self._timer = task.get_loop().call_at(begin + soon, self._hedge, begin)
        else:
            self._timer = task.get_loop().call_at(begin + self._late, self._overtake)
        try:
            result = await self._handler(self._call)
        except BaseException as error:  # noqa: BLE001 - it is raised again, unless a copy was faster
            return await self._without_first(error)
        finally:
            self._over = True
            self._timer.cancel()
            if self._copies:
                await self._end_copies()
        if self._won is not None:  # both at once; the cancellation was for nothing
            task.uncancel()
        return result

    def _hedge(self, begin: float) -> None:
        """Send a copy, since the call is slow."""
        traffic = self._traffic
        loop = self._task.get_loop()
        self._timer = loop.call_at(max(begin + self._late, loop.time()), self._overtake)
        self._send(traffic.hedges(self._call.rules.max_extra_load).withdraw)

    def _overtake(self) -> None:
        """Send a copy, since the call seems to hang; and so on until there are as many attempts as there may be."""
        loop = self._task.get_loop()
        now = self._traffic.clock()
        for attempt in self._call.trail:
            # A call with little time is overtaken early, which says nothing of the instance.
            if attempt.seconds is None and now - attempt.began >= _HANGS_AT_LEAST:
                attempt.hangs = True
        if len(self._copies) + 1 < self._call.rules.attempts:
            self._timer = loop.call_at(loop.time() + self._late, self._overtake)
            self._send(self._traffic.retries.withdraw)

    def _send(self, withdraw: Any) -> None:
        asked = {attempt.instance for attempt in self._call.trail}
        other = self._traffic.ejection.has_other(asked)
        if self._over or not asked or not other or not withdraw(self._traffic.clock()):
            return  # not asked: it still waits for somebody to be there
        call = msgspec.structs.replace(self._call, attempt=len(self._call.trail) + 1, tried=tuple(asked))
        copy = self._task.get_loop().create_task(self._run_copy(call), name=f"hedge of {call.method}")
        copy.add_done_callback(self._ended)
        self._copies.append(copy)

    async def _run_copy(self, call: Call) -> Any:
        return await self._handler(call)

    def _ended(self, copy: asyncio.Task[Any]) -> None:
        """A copy has ended. If it was answered, the call need not be."""
        if not _answered(copy, self._call.method) or self._over or self._won is not None:
            return
        self._won = copy
        self._task.cancel()

    async def _without_first(self, error: BaseException) -> Any:
        """What becomes of a call that failed, or was cancelled: by a copy that was faster, or by its caller."""
        won = self._won
        if won is not None:
            if self._task.uncancel() <= self._cancelling:
                return won.result()
            raise error  # its caller does not want it any more, either
        if outcome_of(error, self._call.method) in _FINAL:  # an answer, or its caller left
            raise error
        left = {copy for copy in self._copies if not copy.done()}
        self._over = True  # from here on a copy that ends cancels nobody
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for copy in done:
                if _answered(copy, self._call.method):
                    return copy.result()
        raise error

    async def _end_copies(self) -> None:
        left = [copy for copy in self._copies if not copy.done()]
        for copy in left:
            copy.cancel()
        if left:
            await asyncio.wait(left)
