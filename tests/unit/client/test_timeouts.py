"""Many timeouts behind one timer of the event loop: each expires at its time, unless it is cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from meshcore.client.timeouts import Timeout, Timeouts
from meshcore.testing import run_virtually


class Noted(Timeout):
    """Notes when it expires.

    Args:
        at: when it is to expire.
        then: the times at which it is to expire again.
    """

    def __init__(self, at: float, *then: float) -> None:
        self.at = at
        self.then = list(then)
        self.expired: list[float] = []

    def expire(self) -> None:
        """Note it."""
        self.expired.append(now())
        if self.then:
            self.at = self.then.pop(0)


def now() -> float:
    """Virtual seconds."""
    return asyncio.get_running_loop().time()


times = st.integers(0, 50)


@given(st.lists(st.tuples(times, times, times | st.none()), max_size=20))
def test_each_expires_at_its_time(plan: list[tuple[int, int, int | None]]) -> None:
    """Whatever the order in which they are added and cancelled; afterwards no timer is left."""

    async def run() -> None:
        timeouts, noted = Timeouts(), [Noted(began + after) for began, after, _ in plan]
        loop = asyncio.get_running_loop()
        for timeout, (began, _, left) in zip(noted, plan, strict=True):
            loop.call_at(began, timeouts.add, timeout)
            if left is not None:
                loop.call_at(began + left + 0.5, timeouts.pending.discard, timeout)
        await asyncio.sleep(200)
        for timeout, (began, after, left) in zip(noted, plan, strict=True):
            assert timeout.expired == ([began + after] if left is None or after <= left else [])

    run_virtually(run())


def in_virtual_time(test: Callable[[Timeouts], None], seconds: float = 100.0) -> None:
    """Run a function, and wait."""

    async def run() -> None:
        test(Timeouts())
        await asyncio.sleep(seconds)

    run_virtually(run())


def test_one_may_expire_again() -> None:
    """It says when, also if others come before that."""
    again, other = Noted(1.0, 2.0, 5.0), Noted(3.0)

    def add(timeouts: Timeouts) -> None:
        timeouts.add(other)
        timeouts.add(again)

    in_virtual_time(add)
    assert (again.expired, other.expired) == ([1.0, 2.0, 5.0], [3.0])


def test_one_that_has_expired_may_still_be_pending() -> None:
    """Its owner discards it; until then it counts, and does not expire again."""
    noted = Noted(1.0)

    async def run() -> None:
        timeouts = Timeouts()
        timeouts.add(noted)
        await asyncio.sleep(2.0)
        assert (timeouts.pending, noted.at) == ({noted}, inf)
        timeouts.add(Noted(3.0))
        await asyncio.sleep(2.0)

    run_virtually(run())
    assert noted.expired == [1.0]


def test_one_that_never_expires_sets_no_timer() -> None:
    """Nor does one in hundreds of years, which no timer of uvloop could hold."""
    never = Noted(inf), Noted(1e11)

    def add(timeouts: Timeouts) -> None:
        for each in never:
            timeouts.add(each)
        assert timeouts.loop is None

    in_virtual_time(add)
    assert [each.expired for each in never] == [[], []]


def test_closing_leaves_no_timer() -> None:
    """Unless something is pending, which must not be forgotten."""
    noted = Noted(5.0)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        timeouts = Timeouts()
        timeouts.add(noted)
        timeouts.close()
        await asyncio.sleep(6.0)
        assert noted.expired == [5.0]
        timeouts.add(cancelled := Noted(loop.time() + 5.0))
        timeouts.pending.discard(cancelled)
        timeouts.pending.discard(noted)
        timeouts.close()
        timeouts.add(later := Noted(loop.time() + 3.0))
        await asyncio.sleep(6.0)
        assert (cancelled.expired, later.expired) == ([], [9.0])

    run_virtually(run())


async def test_after_a_stall_of_this_process_what_has_come_is_read_first() -> None:
    """Then a patient timeout that was answered meanwhile does not expire; others do."""
    hasty, patient = Timeouts(), Timeouts(patient=True)
    for timeouts in (hasty, patient):
        answered, hung = Noted(now() + 0.05), Noted(now() + 0.05)
        timeouts.add(answered)
        timeouts.add(hung)
        time.sleep(0.3)  # noqa: ASYNC251 - this is the stall
        await asyncio.sleep(0)  # the timer has fired
        await asyncio.sleep(0)
        assert len(answered.expired) == (timeouts is hasty)
        timeouts.pending.discard(answered)
        while not hung.expired:
            await asyncio.sleep(0.01)
        assert len(answered.expired) == (timeouts is hasty)
