"""Calls on one connection until they wait for the first time: from Python 3.12 on, they run while it is being read."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextvars import ContextVar

import pytest

from meshcore import (
    AbstractComponent,
    Code,
    Component,
    MeshError,
    Policy,
    Service,
    component,
    implementation,
    module,
    service,
    with_policy,
)
from meshcore.core.call import ambient_deadline
from meshcore.testing import memory_mesh

STREAMED = "stream-msgpack"
seen: ContextVar[str] = ContextVar("seen", default="")


@service()
class Steps(Service):
    @abstractmethod
    async def note(self, text: str) -> str:
        """What the call has seen before; it never waits."""

    @abstractmethod
    async def bounded(self, seconds: float) -> str:
        """Bound what it does by a time of its own, from its first step on."""

    @abstractmethod
    async def task(self) -> tuple[str, float]:
        """The name of its task, and its deadline."""

    @abstractmethod
    async def leave(self) -> None:
        """End the process, as a mistake would."""

    @abstractmethod
    async def cancel_itself(self) -> None:
        """Cancel its own task, as a mistake would."""

    @abstractmethod
    async def forever(self) -> None:
        """Wait until it is cancelled."""

    @abstractmethod
    async def cancelled(self) -> int:
        """How many calls were cancelled."""


@component(services=[Steps])
class StepsComponent(Component): ...


@implementation()
class StepsImpl(Steps):
    def __init__(self) -> None:
        self.count = 0

    async def note(self, text: str) -> str:
        before = seen.get()
        seen.set(text)
        return before

    async def bounded(self, seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return ""

    async def task(self) -> tuple[str, float]:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name(), ambient_deadline.get()

    async def leave(self) -> None:
        raise SystemExit(1)

    async def cancel_itself(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def forever(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.count += 1

    async def cancelled(self) -> int:
        return self.count


@implementation()
class StepsComponentImpl(AbstractComponent, StepsComponent): ...


@module()
class StepsModule: ...


async def test_a_call_has_a_context_and_a_task_of_its_own() -> None:
    """Although the same task reads them all from the connection."""
    async with memory_mesh(StepsModule, channel=STREAMED) as mesh:
        steps = await mesh.get_service(Steps)
        assert set(await asyncio.gather(*map(steps.note, "abc"))) == {""}
        names = {name for name, _ in await asyncio.gather(*(steps.task() for _ in range(3)))}
        assert len(names) == 3
        assert not names & {"meshcore.stream.read"}


async def test_a_timeout_of_an_implementation_ends_nothing_else() -> None:
    """It cancels the task of the call, and the connection goes on."""
    async with memory_mesh(StepsModule, channel=STREAMED) as mesh:
        steps = await mesh.get_service(Steps)
        bounded, before = await asyncio.gather(steps.bounded(0.01), steps.note("x"))
        assert (bounded, before) == ("timed out", "")
        assert await steps.note("y") == ""
        assert mesh.requests == 0  # none went over dispatch, as after a lost connection


async def test_an_implementation_that_exits_before_it_waits() -> None:
    """Its caller gets an error; the others on the connection get their answers."""
    async with memory_mesh(StepsModule, channel=STREAMED) as mesh:
        steps = await mesh.get_service(Steps)
        failed, before = await asyncio.gather(steps.leave(), steps.note("x"), return_exceptions=True)
        assert isinstance(failed, MeshError)
        assert failed.code is Code.INTERNAL
        assert before == ""
        assert await steps.note("y") == ""


async def test_an_implementation_that_cancels_its_own_task() -> None:
    """Its caller is told, and does not wait until its time is over."""
    async with memory_mesh(StepsModule, channel=STREAMED) as mesh:
        steps = with_policy(await mesh.get_service(Steps), Policy(timeout=600.0))
        async with asyncio.timeout(60):
            with pytest.raises(MeshError, match="cancelled at its server") as caught:
                await steps.cancel_itself()
        assert caught.value.code is Code.INTERNAL
        assert await steps.note("y") == ""
        assert mesh.requests == 0


@pytest.mark.parametrize("seconds", [0.2, 60.0])
async def test_a_call_that_waits_is_stopped(seconds: float) -> None:
    """At its deadline, or when its caller has left."""
    async with memory_mesh(StepsModule, channel=STREAMED) as mesh:
        steps = await mesh.get_service(Steps)
        await steps.note("connected")
        call = asyncio.ensure_future(with_policy(steps, Policy(timeout=seconds)).forever())
        await asyncio.wait([call], timeout=1.0)
        assert call.done() is (seconds < 1)
        call.cancel()
        async with asyncio.timeout(20):
            while not await steps.cancelled():
                await asyncio.sleep(0.01)
        await asyncio.gather(call, return_exceptions=True)
