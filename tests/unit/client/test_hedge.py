"""Second attempts beside slow ones, in virtual time: who wins, who is cancelled, what is left behind."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import pytest

from meshcore import Attempt, Call, Code, CommunicationError, MeshError
from meshcore.client.hedge import Hedge
from meshcore.client.timeouts import Timeouts
from meshcore.core.call import ambient_attempt
from meshcore.core.description import Method
from meshcore.core.policy import Rules
from meshcore.testing.virtual_time import run_virtually
from meshcore.traffic.outcome import Outcome
from meshcore.traffic.traffic import Traffic

LOOK = Method("shop", "look", (), str, is_async=True, idempotent=True)
BUY = Method("shop", "buy", (), str, is_async=True)

Answer = Callable[[], Awaitable[str]]


class Fleet:
    """Instances that answer as the test says, and what was asked of them.

    Attributes:
        asked: the ids, in order.
        cancelled: the ids of those whose attempt was cancelled.
        attempts: the record of each, in order.
    """

    def __init__(self, **answers: Answer) -> None:
        self._answers = answers
        self._rules = Rules()
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.attempts: list[Attempt] = []
        loop = asyncio.get_running_loop()
        self.traffic = Traffic("shop", self._rules, loop.time, random.Random(1))
        self.traffic.update(list(answers))
        self.hedge = Hedge(self.traffic, Timeouts())

    async def handle(self, call: Call) -> str:
        """Ask the first that was not tried, as a balancer does."""
        name = next(name for name in self._answers if name not in call.tried)
        self.asked.append(name)
        self.attempts.append(Attempt(name, "test", asyncio.get_running_loop().time()))
        call.trail.append(self.attempts[-1])
        try:
            return await self._answers[name]()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise

    async def call(self, method: Method = LOOK, seconds: float = 9.0, rules: Rules | None = None) -> str:
        """A call through the hedge."""
        deadline = asyncio.get_running_loop().time() + seconds
        result: str = await self.hedge(self.handle, Call(method, deadline=deadline, rules=rules or self._rules))
        return result

    def usually(self, seconds: float, method: Method = LOOK) -> None:
        """The method has taken so long, often."""
        for _ in range(100):
            self.traffic.latency(method).observe(seconds)
            self.traffic.hedges(0.01).deposit(self.traffic.clock())


def answer(text: str, seconds: float) -> Answer:
    """Answers after so long."""

    async def wait() -> str:
        await asyncio.sleep(seconds)
        return text

    return wait


def failure(seconds: float) -> Answer:
    """Fails after so long."""

    async def wait() -> str:
        await asyncio.sleep(seconds)
        raise CommunicationError(Code.UNAVAILABLE, "lost")

    return wait


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run the test in virtual time, and see that it leaves no task behind."""

    async def run() -> None:
        await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    def test_in_virtual_time() -> None:
        run_virtually(run())

    test_in_virtual_time.__doc__ = test.__doc__
    return test_in_virtual_time


def now() -> float:
    """Virtual seconds."""
    return asyncio.get_running_loop().time()


@virtual
async def test_a_usual_call_is_sent_once() -> None:
    """Nothing else happens, and its latency is learned."""
    fleet = Fleet(a=answer("a", 0.01), b=answer("b", 0.01))
    for _ in range(60):
        assert await fleet.call() == "a"
    assert fleet.asked == ["a"] * 60
    await asyncio.sleep(3.0)  # a quantile is worked out that often
    assert fleet.traffic.latency(LOOK).quantile(0.99, now()) == pytest.approx(0.01, rel=0.11)


@virtual
async def test_a_slow_call_is_overtaken() -> None:
    """When it takes longer than 99 % of its kind another instance is asked; the first answer ends the other attempt."""
    fleet = Fleet(a=answer("a", 5.0), b=answer("b", 0.01))
    fleet.usually(0.01)
    assert await fleet.call() == "b"
    assert 0.02 < now() < 0.03
    assert (fleet.asked, fleet.cancelled) == (["a", "b"], ["a"])


@virtual
async def test_the_first_may_still_be_first() -> None:
    """A call that is merely late wins, and its copy is cancelled."""
    fleet = Fleet(a=answer("a", 0.015), b=answer("b", 1.0))
    fleet.usually(0.01)
    assert await fleet.call() == "a"
    assert (fleet.asked, fleet.cancelled) == (["a", "b"], ["b"])


@virtual
async def test_both_at_the_same_instant() -> None:
    """Whoever comes first in the loop, there is one result, and no cancellation is left pending."""
    fleet = Fleet(a=answer("a", 0.0125), b=answer("b", 0.0))
    fleet.usually(0.01)
    soon = fleet.traffic.latency(LOOK).quantile(0.99, now())
    assert soon is not None
    fleet._answers["a"] = answer("a", soon)
    assert await fleet.call() in {"a", "b"}
    await asyncio.sleep(1.0)


@virtual
async def test_a_copy_can_save_a_call_that_fails() -> None:
    """The first fails while a copy is under way: the copy is waited for."""
    fleet = Fleet(a=failure(0.05), b=answer("b", 0.5))
    fleet.usually(0.01)
    assert await fleet.call() == "b"
    fleet = Fleet(a=failure(0.05), b=failure(0.5))
    fleet.usually(0.01)
    with pytest.raises(MeshError, match="lost"):
        await fleet.call()
    assert fleet.asked == ["a", "b"]


@virtual
async def test_a_copy_that_fails_does_no_harm() -> None:
    """The first goes on and answers."""
    fleet = Fleet(a=answer("a", 0.5), b=failure(0.01), c=answer("c", 10.0))
    fleet.usually(0.01)
    assert await fleet.call() == "a"


@virtual
async def test_a_hanging_call_is_overtaken_without_any_experience() -> None:
    """After a quarter of a second, or a third of its time; a call that is slow for a reason still ends."""
    fleet = Fleet(a=answer("a", 8.0), b=answer("b", 0.01))
    assert await fleet.call(seconds=9.0) == "b"
    assert now() == pytest.approx(0.26)
    assert await fleet.call(seconds=0.3) == "b"
    assert now() == pytest.approx(0.37)
    fleet = Fleet(a=answer("a", 8.0), b=answer("b", 100.0), c=answer("c", 100.0))
    assert await fleet.call(seconds=9.0) == "a"
    assert now() == pytest.approx(8.37)
    assert fleet.asked == ["a", "b"]
    assert fleet.cancelled == ["b"]


@virtual
async def test_a_slow_method_is_sent_twice_only_until_its_first_calls_are_answered() -> None:
    """Three times what is typical is slow while little is known; and who answers other calls does not hang."""
    fleet = Fleet(a=answer("a", 2.0), b=answer("b", 2.0))
    for _ in range(20):
        assert await fleet.call(seconds=60.0) == "a"
    assert fleet.asked == ["a", "b", *["a"] * 19]
    hasty = Fleet(a=answer("a", 0.5), b=answer("b", 0.1))
    calls = [asyncio.ensure_future(hasty.call()) for _ in range(3)]
    await asyncio.sleep(0.2)
    hasty.traffic.ejection.end("a", Outcome.SUCCEEDED, now(), probe=False)
    assert [await call for call in calls] == ["b"] * 3
    assert not any(attempt.hangs for attempt in hasty.attempts)


@virtual
async def test_what_a_hung_instance_costs_is_not_taken_for_usual() -> None:
    """However many calls meet one: each costs at most a quarter of a second, from the first on and after a hundred."""
    fleet = Fleet(a=answer("a", 1e9), b=answer("b", 0.01))
    for _ in range(100):
        before = now()
        assert await fleet.call() == "b"
        assert now() - before < 0.27
        await asyncio.sleep(1.0)


@virtual
async def test_who_hangs_is_told_from_who_is_slow() -> None:
    """An attempt that is overtaken since it seems to hang is marked; one that a hedge overtakes is not."""
    hung = Fleet(a=answer("a", 8.0), b=answer("b", 0.1))
    assert await hung.call() == "b"
    assert [attempt.hangs for attempt in hung.attempts] == [True, False]
    slow = Fleet(a=answer("a", 8.0), b=answer("b", 0.1))
    slow.usually(0.01)
    assert await slow.call() == "b"
    assert [attempt.hangs for attempt in slow.attempts] == [False, False]


@virtual
async def test_its_caller_leaves() -> None:
    """All attempts are cancelled, and the cancellation is its caller's."""
    fleet = Fleet(a=answer("a", 8.0), b=answer("b", 100.0))
    task = asyncio.create_task(fleet.call())
    await asyncio.sleep(4.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(fleet.cancelled) == ["a", "b"]


@virtual
async def test_hedges_are_bounded() -> None:
    """All calls slow, all at once: no more copies than one in a hundred, and what the reserves grant."""
    fleet = Fleet(a=answer("a", 0.2), b=answer("b", 0.2))
    fleet.usually(0.01)
    await asyncio.gather(*(fleet.call() for _ in range(1000)))
    assert fleet.asked.count("b") <= 10 + 10 + 1


@virtual
async def test_what_must_not_run_twice_is_sent_once() -> None:
    """A method that is not idempotent, a policy of one attempt, and a call below a retry wait."""
    fleet = Fleet(a=answer("a", 8.0), b=answer("b", 0.1))
    fleet.usually(0.01)
    assert await fleet.call(BUY) == "a"
    assert await fleet.call(rules=Rules(attempts=1)) == "a"
    token = ambient_attempt.set(2)
    assert await fleet.call() == "a"
    ambient_attempt.reset(token)
    assert fleet.asked == ["a"] * 3


@virtual
async def test_nobody_else_is_there() -> None:
    """With one instance there is nobody to ask a second time."""
    fleet = Fleet(a=answer("a", 8.0))
    fleet.usually(0.01)
    assert await fleet.call() == "a"
    assert fleet.asked == ["a"]


@virtual
async def test_no_hedge_but_against_hanging() -> None:
    """With `max_extra_load=0` a slow call is not sent twice at once, but is when it seems to hang."""
    fleet = Fleet(a=answer("a", 5.0), b=answer("b", 0.1))
    fleet.usually(0.01)
    assert await fleet.call(rules=Rules(max_extra_load=0.0)) == "b"
    assert now() == pytest.approx(0.35)


class SoldOut(Exception):
    """What the interface declares."""


def sold_out(seconds: float) -> Answer:
    """Answers so after so long."""

    async def wait() -> str:
        await asyncio.sleep(seconds)
        raise SoldOut

    return wait


@virtual
async def test_a_declared_exception_is_an_answer() -> None:
    """Of a copy it ends the call as a result does; of the first, nobody waits for a copy."""
    declaring = msgspec.structs.replace(LOOK, raises=(SoldOut,))
    fleet = Fleet(a=answer("a", 8.0), b=sold_out(0.1))
    fleet.usually(0.01, declaring)
    with pytest.raises(SoldOut):
        await fleet.call(declaring)
    assert now() < 0.2
    assert fleet.cancelled == ["a"]
    fleet = Fleet(a=sold_out(0.1), b=answer("b", 8.0))
    fleet.usually(0.01, declaring)
    with pytest.raises(SoldOut):
        await fleet.call(declaring)
    assert now() < 0.4
    assert fleet.cancelled == ["b"]


@virtual
async def test_any_other_exception_is_a_failure() -> None:
    """A channel that is at a loss has not answered: a copy may."""
    fleet = Fleet(a=sold_out(0.05), b=answer("b", 0.1))
    fleet.usually(0.01)
    assert await fleet.call() == "b"


@virtual
async def test_a_caller_that_would_wait_for_ever() -> None:
    """What takes longer than others of its kind hangs all the same."""
    fleet = Fleet(a=answer("a", 10 * 86_400.0), b=answer("b", 0.1))
    assert await fleet.call(seconds=math.inf) == "b"
    assert now() == pytest.approx(0.35)
