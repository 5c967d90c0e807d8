"""Interceptors around a handler, and the one scope that bounds a call."""

import asyncio
import time
from functools import partial
from typing import Any

import pytest

from meshcore import Call, Code, CommunicationError, CurrentCall, Handler, Interceptor, compose
from meshcore.client.deadline import Deadline, Limit
from meshcore.core.call import ambient_deadline
from meshcore.core.context.call_scope import CallScope, Stop, Stopped
from meshcore.core.description import Method
from meshcore.core.policy import Rules

METHOD = Method("shop", "buy", (), None, is_async=True)


# --- compose ----------------------------------------------------------------------------------------------------------


def noting(name: str, seen: list[str]) -> Interceptor:
    """An interceptor that notes when a call passes it, both ways."""

    async def interceptor(handler: Handler, call: Call) -> Any:
        seen.append(f">{name}")
        try:
            return await handler(call)
        finally:
            seen.append(f"<{name}")

    return interceptor


async def test_the_first_interceptor_is_outermost() -> None:
    """A call passes the interceptors in the order they are given, and its result in reverse."""
    seen: list[str] = []

    async def handler(call: Call) -> str:
        seen.append(call.method.name)
        return "done"

    composed = compose(handler, noting("a", seen), noting("b", seen))
    assert await composed(Call(METHOD)) == "done"
    assert seen == [">a", ">b", "buy", "<b", "<a"]


async def test_an_interceptor_may_change_call_and_result_or_answer_itself() -> None:
    """What an interceptor passes on is what the next one gets; not passing on is allowed."""

    async def handler(call: Call) -> tuple[Any, ...]:
        return call.arguments

    async def doubling(handler: Handler, call: Call) -> Any:
        return await handler(Call(call.method, call.arguments * 2))

    async def stopping(handler: Handler, call: Call) -> Any:
        return "stopped"

    assert await compose(handler, doubling)(Call(METHOD, (1,))) == (1, 1)
    assert await compose(handler, stopping, doubling)(Call(METHOD, (1,))) == "stopped"


def test_composing_nothing_costs_nothing() -> None:
    """Without interceptors it is the handler itself; each interceptor adds a partial and no Python frame."""

    async def handler(call: Call) -> None: ...

    async def interceptor(handler: Handler, call: Call) -> Any: ...

    assert compose(handler) is handler
    composed = compose(handler, interceptor)
    assert isinstance(composed, partial)
    assert (composed.func, composed.args) == (interceptor, (handler,))


# --- CallScope --------------------------------------------------------------------------------------------------------


async def forever() -> None:
    """Wait for what does not happen."""
    await asyncio.Event().wait()


async def forever_in(scope: CallScope) -> None:
    """Wait in a scope."""
    with scope:
        await forever()


def cancelling() -> int:
    """How many cancellations of the current task nobody took back."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_the_deadline_stops_the_work() -> None:
    """What is not done at the deadline is cancelled and leaves as Stopped; the task itself is as before."""
    with pytest.raises(Stopped) as stopped, CallScope(time.monotonic() + 0.01):
        await forever()
    assert stopped.value.reason is Stop.DEADLINE
    assert cancelling() == 0
    await asyncio.sleep(0)


async def test_a_deadline_that_has_passed_stops_at_the_first_wait() -> None:
    """Work that does not wait is done all the same."""
    with CallScope(time.monotonic() - 1):
        done = 1
    with pytest.raises(Stopped), CallScope(time.monotonic() - 1):
        await forever()
    assert done == 1


@pytest.mark.parametrize("reason", list(Stop))
async def test_stop_from_outside(reason: Stop) -> None:
    """The reason of the first `stop` is the one that counts."""
    scope = CallScope()
    loop = asyncio.get_running_loop()
    loop.call_soon(scope.stop, reason)
    loop.call_soon(scope.stop, Stop.SHUTDOWN)
    with pytest.raises(Stopped) as stopped, scope:
        await forever()
    assert stopped.value.reason is reason
    assert cancelling() == 0


async def test_stop_before_the_work_begins() -> None:
    """What was stopped before it began does not begin, and the task is not cancelled later for it."""
    scope = CallScope()
    scope.stop(Stop.CLIENT_LEFT)
    with pytest.raises(Stopped) as stopped, scope:
        pytest.fail("it began")
    assert stopped.value.reason is Stop.CLIENT_LEFT
    await asyncio.sleep(0)
    assert cancelling() == 0


async def test_stop_after_the_work_is_over() -> None:
    """A scope that was left cancels nobody."""
    scope = CallScope(time.monotonic() + 0.005)
    with scope:
        pass
    scope.stop(Stop.CLIENT_LEFT)
    await asyncio.sleep(0.01)
    assert cancelling() == 0


async def test_a_foreign_cancellation_passes() -> None:
    """Whoever cancels the task gets a cancelled task."""

    async def work() -> None:
        with CallScope(time.monotonic() + 60):
            await forever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_foreign_cancellation_wins_over_a_stop() -> None:
    """If both come at once, the task ends as cancelled."""
    scope = CallScope()

    async def work() -> None:
        with scope:
            await forever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    scope.stop(Stop.DEADLINE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_only_the_scope_that_was_stopped_is_left() -> None:
    """Of nested scopes, the inner one's stop ends only its own work, and the outer one's goes through the inner."""
    inner, outer = CallScope(), CallScope()
    loop = asyncio.get_running_loop()
    with outer:
        loop.call_soon(inner.stop, Stop.DEADLINE)
        with pytest.raises(Stopped), inner:
            await forever()
        assert cancelling() == 0
        second = CallScope()
        loop.call_soon(outer.stop, Stop.SHUTDOWN)
        with pytest.raises(asyncio.CancelledError):  # noqa: PT012
            with second:
                await forever()
            pytest.fail("it went on")
        assert cancelling() == 1
    assert cancelling() == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_both_of_two_nested_scopes_are_stopped(order: tuple[int, int]) -> None:
    """Whichever was stopped first, the outer one's reason comes out and all cancellations are taken back."""
    scopes = CallScope(), CallScope()
    for at in order:
        asyncio.get_running_loop().call_soon(scopes[at].stop, (Stop.SHUTDOWN, Stop.CLIENT_LEFT)[at])
    with pytest.raises(Stopped) as stopped, scopes[0], scopes[1]:
        await forever()
    assert stopped.value.reason is Stop.SHUTDOWN
    assert cancelling() == 0


async def test_a_scope_within_a_timeout_of_asyncio() -> None:
    """Asyncio's own bookkeeping is not disturbed, inside or outside."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await forever_in(CallScope(time.monotonic() + 60))
    with pytest.raises(Stopped), CallScope(time.monotonic() + 0.01):
        async with asyncio.timeout(60):
            await forever()
    assert cancelling() == 0


async def test_an_error_of_the_work_passes() -> None:
    """Also when the scope was stopped meanwhile: what the work raised is what comes out."""
    scope = CallScope()
    asyncio.get_running_loop().call_soon(scope.stop, Stop.DEADLINE)

    async def work() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            raise KeyError("its own") from None

    with pytest.raises(KeyError), scope:
        await work()
    assert cancelling() == 0


def test_a_scope_needs_a_task() -> None:
    """Outside of a task there is nothing that could be cancelled."""
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(RuntimeError), CallScope():
            pass
    finally:
        loop.close()


# --- Deadline ---------------------------------------------------------------------------------------------------------


def within(seconds: float) -> Deadline:
    """The interceptor, of a method with this timeout."""
    return Deadline({METHOD: Rules(timeout=seconds)}, time.monotonic, Limit(9))


async def test_the_nearest_deadline_counts() -> None:
    """Of the call's own, the ambient one and the timeout the least is passed on, and the rest of the call stays."""

    async def handler(call: Call) -> Call:
        return call

    now = time.monotonic()
    call = Call(METHOD, (1,), {"a": "b"}, now + 50)
    bounded: Call = await within(100)(handler, call)
    assert (bounded.deadline, bounded.arguments, bounded.headers) == (now + 50, (1,), {"a": "b"})
    token = ambient_deadline.set(now + 20)
    try:
        assert (await within(100)(handler, call)).deadline == now + 20
        assert 0 <= (await within(5)(handler, call)).deadline - now - 5 < 1
    finally:
        ambient_deadline.reset(token)


async def test_a_call_without_any_time_left_is_not_made() -> None:
    """When the deadline of the call that is being served has passed, nothing is sent for it any more."""
    sent: list[Call] = []

    async def handler(call: Call) -> None:
        sent.append(call)

    token = ambient_deadline.set(time.monotonic() - 0.1)
    try:
        with pytest.raises(CommunicationError) as late:
            await within(10)(handler, Call(METHOD))
    finally:
        ambient_deadline.reset(token)
    assert (late.value.code, late.value.processed, sent) == (Code.DEADLINE_EXCEEDED, False, [])


async def test_a_call_that_takes_too_long() -> None:
    """The error says how long was waited, and that the call may have been processed."""

    async def handler(call: Call) -> None:
        await forever()

    with pytest.raises(CommunicationError) as late:
        await within(0.01)(handler, Call(METHOD))
    assert late.value.code is Code.DEADLINE_EXCEEDED
    assert late.value.message == "shop.buy was not answered within 0.01 s"
    assert (late.value.retryable, late.value.processed) == (False, True)


def test_what_a_call_shows_of_itself_are_no_values() -> None:
    """Headers may be tokens, and texts of calls get into logs."""
    call = Call(METHOD, ("hunter2",), {"authorization": "Bearer hunter2"}, peer="10.0.0.1")
    assert repr(call) == "Call(shop.buy, headers=['authorization'], attempt=1, peer='10.0.0.1')"
    current = CurrentCall(METHOD, call.headers, 1.0, 2, "local", "shop")
    assert repr(current) == "CurrentCall(shop.buy, headers=['authorization'], attempt=2, peer='local')"
