"""The clauses of the contract of registries. Each function checks the clause in its docstring, which the kit quotes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING
from uuid import uuid4

import anyio

from meshcore.core.instances import Absent, Bound, ChannelAddress, Instance
from meshcore.testing.kits.registry_setup import Setup, equal, new_component, new_instance
from meshcore.testing.watcher import watching

if TYPE_CHECKING:
    from meshcore.ports.registry import ComponentRegistry


async def unknown(setup: Setup) -> None:
    """A component without instances is reported as absent, soon."""
    async with watching(setup.watcher, new_component(), seconds=setup.seconds) as watcher:
        await watcher.until(Absent())
        equal(len(watcher.seen), 1, "the number of sightings")


async def exact(setup: Setup) -> None:
    """An instance is reported exactly as it was announced, and a component without instances is absent again."""
    component = new_component()
    instance = Instance(
        id=uuid4().hex,
        component=component,
        addresses=(
            ChannelAddress("rest", "http://127.0.0.1:8000/a%20b/?x=1&y=é,(;)#z"),
            ChannelAddress("dispatch-json", "https://[::1]:8443"),
        ),
        version="1.0 βeta",
        zone='zone "a"/\\1',
        weight=7,
        digest="0123456789abcdef",
        health="http://127.0.0.1:8000/health?é,(;)",
        socket="/run/my #1 é/orders.sock#0af1-2b-3c",
    )
    async with watching(setup.watcher, component, seconds=setup.seconds) as watcher:
        await watcher.until(Absent())
        async with setup.announcer.announce(instance):
            await watcher.until(Bound((instance,)))
        await watcher.until(Absent())
        equal(watcher.seen, [Absent(), Bound((instance,)), Absent()], "all that was reported")


async def snapshots(setup: Setup) -> None:
    """Each sighting holds all instances, ordered by id."""
    component = new_component()
    first, second, third = sorted((new_instance(component) for _ in range(3)), key=lambda instance: instance.id)
    async with watching(setup.watcher, component, seconds=setup.seconds) as watcher, AsyncExitStack() as announced:
        await announced.enter_async_context(setup.announcer.announce(second))
        await watcher.until(Bound((second,)))
        async with setup.announcer.announce(third):
            await watcher.until(Bound((second, third)))
            await announced.enter_async_context(setup.announcer.announce(first))
            await watcher.until(Bound((first, second, third)))
        await watcher.until(Bound((first, second)))


async def many_watchers(setup: Setup) -> None:
    """All watches of a component see its instances, also those that begin later; watches of another see none."""
    component, other = new_component(), new_component()
    instance = new_instance(component)
    async with AsyncExitStack() as stack:
        early = [
            await stack.enter_async_context(watching(registry, component, seconds=setup.seconds))
            for registry in (setup.watcher, setup.watcher, setup.announcer)
        ]
        elsewhere = await stack.enter_async_context(watching(setup.watcher, other, seconds=setup.seconds))
        async with setup.announcer.announce(instance):
            for watcher in early:
                await watcher.until(Bound((instance,)))
            async with watching(setup.watcher, component, seconds=setup.seconds) as late:
                await late.until(Bound((instance,)))
                equal(len(late.seen), 1, "the number of sightings of a watch that begins late")
            await elsewhere.until(Absent())
        for watcher in early:
            await watcher.until(Absent())


async def silence(setup: Setup) -> None:
    """Nothing is reported while nothing changes, or only another component."""
    component, other = new_component(), new_component()
    instance = new_instance(component)
    async with (
        setup.announcer.announce(instance),
        watching(setup.watcher, component, seconds=setup.seconds) as watcher,
    ):
        await watcher.until(Bound((instance,)))
        async with setup.announcer.announce(new_instance(other)):
            await watcher.stays_silent()


async def leaving(setup: Setup) -> None:
    """A watch that is closed while it waits, or between two sightings, leaves no task and disturbs no other watch."""
    component = new_component()
    instance = new_instance(component)
    async with watching(setup.watcher, component, seconds=setup.seconds) as watcher:
        await watcher.until(Absent())
        before = asyncio.all_tasks()
        async with watching(setup.watcher, component, seconds=setup.seconds) as cancelled:
            await cancelled.until(Absent())
        closed = setup.watcher.watch(component)
        async with asyncio.timeout(setup.seconds):
            await anext(closed)
            await closed.aclose()
            await setup.watcher.watch(component).aclose()  # never begun
        equal(asyncio.all_tasks() - before, set[asyncio.Task[None]](), "the tasks that go on after that")
        async with setup.announcer.announce(instance):
            await watcher.until(Bound((instance,)))


async def lists(setup: Setup) -> None:
    """`instances` lists all components and instances; one process may offer several components."""
    one, other = new_component(), new_component()
    instance, neighbour = new_instance(one), new_instance(one)
    twin = Instance(instance.id, other, instance.addresses)
    async with AsyncExitStack() as announced, watching(setup.watcher, one, seconds=setup.seconds) as watcher:
        for each in (twin, neighbour, instance):
            await announced.enter_async_context(setup.announcer.announce(each))
        expected = Bound(tuple(sorted((instance, neighbour), key=lambda each: each.id)))
        await watcher.until(expected)
        listed = await setup.watcher.instances()
        equal(listed.get(one), expected.instances, f"what `instances` lists of {one}")
        equal(listed.get(other), (twin,), f"what `instances` lists of {other}")


async def storm(setup: Setup) -> None:
    """After fifty announcements at once, most of them short, the sighting is right."""
    component = new_component()
    instances = sorted((new_instance(component) for _ in range(50)), key=lambda each: each.id)
    staying = tuple(instances[::10])
    done = asyncio.Event()

    async def announce(instance: Instance) -> None:
        async with setup.announcer.announce(instance):
            if instance in staying:
                await done.wait()

    async with watching(setup.watcher, component, seconds=setup.seconds) as watcher:
        tasks = [asyncio.create_task(announce(instance)) for instance in instances]
        try:
            await asyncio.wait([task for task, each in zip(tasks, instances, strict=True) if each not in staying])
            await watcher.until(Bound(staying))
        finally:
            done.set()
            await asyncio.gather(*tasks)
        await watcher.until(Absent())


async def ends_with_context(setup: Setup) -> None:
    """An announcement ends with its context: after an exception, a cancelled task, or a cancelled scope."""
    component = new_component()
    instance = new_instance(component)
    async with watching(setup.watcher, component, seconds=setup.seconds) as watcher:
        try:
            async with setup.announcer.announce(instance):
                await watcher.until(Bound((instance,)))
                _fail_on_purpose()
        except _OnPurposeError:
            await watcher.until(Absent())

        with anyio.CancelScope() as scope:
            async with setup.announcer.announce(instance):
                await watcher.until(Bound((instance,)))
                scope.cancel()
                await anyio.sleep_forever()
        await watcher.until(Absent())

        async def announce() -> None:
            async with setup.announcer.announce(instance):
                await anyio.sleep_forever()

        task = asyncio.create_task(announce())
        await watcher.until(Bound((instance,)))
        task.cancel()
        await asyncio.wait([task])
        await watcher.until(Absent())


async def slow_consumer(setup: Setup) -> None:
    """A slow consumer sees the newest sighting next, and no outdated one."""
    component = new_component()
    short, staying = new_instance(component), new_instance(component)
    async with (
        aclosing(setup.watcher.watch(component)) as slow,
        watching(setup.watcher, component, seconds=setup.seconds) as watcher,
    ):
        async with asyncio.timeout(setup.seconds):
            equal(await anext(slow), Absent(), "the first sighting")
        async with setup.announcer.announce(short):
            await watcher.until(Bound((short,)))
        await watcher.until(Absent())
        async with setup.announcer.announce(staying):
            await watcher.until(Bound((staying,)))
            async with asyncio.timeout(setup.seconds):
                equal(await anext(slow), Bound((staying,)), "the sighting after the pause")


async def odd_names(setup: Setup) -> None:
    """Names of components and instances may contain any character, and differ in any."""
    token = uuid4().hex[:8]
    names = [
        f"{token}{name}" for name in ("-größe", "/a/../b", ".", " %2F?#&=", "-UPPER", "-upper", '"\\;,()', "x" * 150)
    ]
    names.append(f"../{token}")
    instances = {name: Instance(f"{name}:8000/ß", name, (ChannelAddress("rest", "http://h:1"),)) for name in names}
    async with AsyncExitStack() as stack:
        for instance in instances.values():
            await stack.enter_async_context(setup.announcer.announce(instance))
        for name, instance in instances.items():
            async with watching(setup.watcher, name, seconds=setup.seconds) as watcher:
                await watcher.until(Bound((instance,)))


async def shared(setup: Setup) -> None:
    """A registry that is entered several times works until it is left as often."""
    component = new_component()
    instance = new_instance(component)
    async with watching(setup.watcher, component, seconds=setup.seconds) as watcher:
        async with setup.watcher, setup.announcer:
            await watcher.until(Absent())
        async with setup.announcer.announce(instance):
            await watcher.until(Bound((instance,)))


async def other_task(setup: Setup) -> None:
    """A registry may be left in another task than the one that entered it, and entered again."""
    component = new_component()
    instance = new_instance(component)
    for _ in range(2):
        await asyncio.create_task(_enter(setup.watcher))
        try:
            async with (
                setup.announcer,
                setup.announcer.announce(instance),
                watching(setup.watcher, component, seconds=setup.seconds) as watcher,
            ):
                await watcher.until(Bound((instance,)))
        finally:
            await asyncio.create_task(_leave(setup.watcher))


CLAUSES = (
    unknown,
    exact,
    snapshots,
    many_watchers,
    silence,
    leaving,
    lists,
    storm,
    ends_with_context,
    slow_consumer,
    odd_names,
    shared,
)


class _OnPurposeError(Exception):
    """Leaves a context."""


def _fail_on_purpose() -> None:
    raise _OnPurposeError


async def _enter(registry: ComponentRegistry) -> None:
    await registry.__aenter__()


async def _leave(registry: ComponentRegistry) -> None:
    await registry.__aexit__(None, None, None)
