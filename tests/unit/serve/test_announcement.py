"""The announcement of a process with several components, in registries that take some, hang, and come back."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest

from examples.orders import OrdersModule
from meshcore import CommunicationError, ComponentRegistry, MeshApp, load_settings
from meshcore.core.errors import Code
from meshcore.core.instances import Absent, Bound, ChannelAddress, Instance
from meshcore.registry import LocalComponentRegistry
from meshcore.serve.announcement import Announcement

SETTINGS = load_settings({"verify_advertise": False}, environ={})
NEVER = asyncio.Event()


def instance_of(component: str) -> Instance:
    """What is announced."""
    return Instance(f"{component}-1", component, (ChannelAddress("rest", "http://127.0.0.1:8000"),))


INSTANCES = [instance_of(component) for component in ("orders", "stock", "prices")]


class Partial(LocalComponentRegistry):
    """Refuses the stock while it is told to."""

    refuses = True

    @asynccontextmanager
    async def announce(self, instance):
        if self.refuses and instance.component == "stock":
            raise CommunicationError(Code.UNAVAILABLE, "no stock here")
        async with super().announce(instance):
            yield


class Slow(LocalComponentRegistry):
    """Lets nobody leave before so many want to."""

    def __init__(self, parties: int) -> None:
        super().__init__()
        self.barrier = asyncio.Barrier(parties)

    @asynccontextmanager
    async def announce(self, instance):
        async with super().announce(instance):
            yield
            await self.barrier.wait()


class Gradual(LocalComponentRegistry):
    """Takes its time to say that it has taken an instance, and to let it go, as Consul's adapter does."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = asyncio.Event()
        self.begun = asyncio.Barrier(len(INSTANCES) + 1)

    @asynccontextmanager
    async def announce(self, instance):
        context = super().announce(instance)
        await context.__aenter__()
        try:
            await self.begun.wait()
            await self.listed.wait()
            yield
        finally:
            with anyio.move_on_after(3.0, shield=True):
                await asyncio.sleep(0.2)
                await context.__aexit__(None, None, None)


async def until_holds(announcement: Announcement) -> None:
    """Return when all of it is made."""
    async with asyncio.timeout(5):
        while not announcement.holds:
            await asyncio.sleep(0.01)


async def test_one_that_is_refused_leaves_the_others_alone(caplog):
    """They are announced once and stay so; the log says once what is wrong; all is well when it is taken after all."""
    registry = Partial()
    seen: list[object] = []

    async def look() -> None:
        async with aclosing(registry.watch("orders")) as sightings:
            async for sighting in sightings:
                seen.append(sighting)  # noqa: PERF401 - it never ends

    async with registry, asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        async with Announcement(registry, INSTANCES, SETTINGS) as announcement:
            await asyncio.sleep(1.0)  # in which the refused one is tried four times
            assert not announcement.holds
            assert seen in ([Bound((INSTANCES[0],))], [Absent(), Bound((INSTANCES[0],))])
            assert [
                record.getMessage() for record in caplog.records if record.name == "meshcore.serve.announcement"
            ] == ["announcing stock failed, trying again in 0.1 s: unavailable: no stock here"]
            registry.refuses = False
            await until_holds(announcement)
            assert await announcement.withdraw(NEVER)
            assert await registry.instances() == {}
        looking.cancel()


async def test_what_was_taken_is_withdrawn_though_not_all_was():
    """Without waiting for the one that is tried again."""
    async with Partial() as registry, Announcement(registry, INSTANCES, SETTINGS) as announcement:
        await asyncio.sleep(1.0)
        assert len(await registry.instances()) == 2
        began = time.monotonic()
        assert await announcement.withdraw(NEVER)
        assert time.monotonic() - began < 0.5
        assert await registry.instances() == {}


async def test_all_are_withdrawn_at_once():
    """One that takes its time keeps no other waiting."""
    async with Slow(len(INSTANCES)) as registry, Announcement(registry, INSTANCES, SETTINGS) as announcement:
        await until_holds(announcement)
        async with asyncio.timeout(5):
            assert await announcement.withdraw(NEVER)
        assert await registry.instances() == {}


@pytest.mark.parametrize("first", [True, False], ids=["before", "meanwhile"])
async def test_a_hurry_ends_the_wait(first):
    """A registry that does not answer is left alone when somebody is in a hurry."""
    async with Slow(len(INSTANCES) + 1) as registry, asyncio.timeout(5):
        async with Announcement(registry, INSTANCES, SETTINGS) as announcement:
            await until_holds(announcement)
            hurry = asyncio.Event()
            asyncio.get_running_loop().call_later(0.0 if first else 0.2, hurry.set)
            assert await announcement.withdraw(hurry)
        assert await registry.instances() == {}


@pytest.mark.parametrize("hurried", [False, True], ids=["in time", "in a hurry"])
@pytest.mark.parametrize("listed", [False, True], ids=["not listed yet", "listed"])
async def test_what_is_being_withdrawn_is_not_cut_off(hurried, listed):
    """Whoever has begun to take an instance back is given the time for it, also if nobody can know of that yet."""
    hurry = asyncio.Event()
    async with Gradual() as registry:
        async with Announcement(registry, INSTANCES, SETTINGS) as announcement:
            await registry.begun.wait()
            if listed:
                registry.listed.set()
                await until_holds(announcement)
            if hurried:
                hurry.set()
            assert await announcement.withdraw(hurry) is listed
        assert await registry.instances() == {}


class Losing(LocalComponentRegistry):
    """Loses what it has when it is told to, without a word."""

    def __init__(self) -> None:
        super().__init__()
        self.lose = asyncio.Event()

    @asynccontextmanager
    async def announce(self, instance):
        async with super().announce(instance):
            losing = asyncio.current_task()
            waiting = asyncio.get_running_loop().create_task(self.lose.wait())
            waiting.add_done_callback(lambda task: task.cancelled() or losing.cancel())
            try:
                yield
            except asyncio.CancelledError:
                losing.uncancel()
                self.lose = asyncio.Event()
                raise TimeoutError from None
            finally:
                waiting.cancel()


async def test_what_is_lost_is_announced_again(caplog):
    """It is said each time, also of an error without a text, and the process is not ready meanwhile."""
    caplog.set_level("INFO", logger="meshcore.serve.announcement")
    async with Losing() as registry, Announcement(registry, INSTANCES[:1], SETTINGS) as announcement:
        for _ in range(2):
            await until_holds(announcement)
            registry.lose.set()
            async with asyncio.timeout(5):
                while announcement.holds:
                    await asyncio.sleep(0.01)
        await until_holds(announcement)
        await announcement.withdraw(NEVER)
    said = "announced orders at http://127.0.0.1:8000"
    lost = "announcing orders failed, trying again in 0.1 s: TimeoutError"
    told = [record.getMessage() for record in caplog.records if record.name == "meshcore.serve.announcement"]
    assert told == [said, lost, said, lost, said]


async def test_a_hurried_stop_does_not_wait_for_the_registry():
    """The second signal goes on to the drain though the withdrawal hangs."""
    app = MeshApp(OrdersModule, settings=SETTINGS, overrides={ComponentRegistry: Slow(2)})
    async with app.running():
        async with asyncio.timeout(5):
            while not app._ready():
                await asyncio.sleep(0.01)
        stopping = asyncio.create_task(app.stop())
        await asyncio.sleep(0.1)
        assert not stopping.done()
        app.hurry()
        async with asyncio.timeout(5):
            await stopping
