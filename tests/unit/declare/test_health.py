import asyncio
import threading
from collections.abc import Callable

import pytest

from meshcore import Mesh, Settings, module
from meshcore.declare.health import HealthCheckManager, HealthStatus, health_check, health_checks, health_problems
from meshcore.declare.injection import injectable
from meshcore.inject.graph import Graph
from meshcore.inject.injector import Injector
from meshcore.inject.recipes import recipe_of_class


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def summary(health: HealthCheckManager.Health) -> list[tuple[str, HealthStatus, str]]:
    """What the checks say, without their durations."""
    return [(each.name, each.status, each.details) for each in health.checks]


def one(check: Callable[..., object], clock: Clock | None = None, **options: object) -> HealthCheckManager:
    """A manager of one check."""
    cls = health_checks()(type("Checks", (), {"check": health_check(**options)(check)}))  # type: ignore[arg-type]
    return HealthCheckManager([cls()], clock or Clock())


def test_statuses_are_ordered_by_badness():
    """OK, WARNING and ERROR answer 200, 429 and 500; the worse is the greater."""
    assert sorted(HealthStatus, reverse=True) == [HealthStatus.ERROR, HealthStatus.WARNING, HealthStatus.OK]
    assert [each.http_status for each in HealthStatus] == [200, 429, 500]
    assert HealthStatus.OK <= HealthStatus.OK < HealthStatus.WARNING


def test_a_health_can_be_made_by_hand():
    """A component may answer for itself, without checks."""
    assert HealthCheckManager.Health(HealthStatus.OK).to_plain() == {"status": "ok", "checks": []}


async def test_the_worst_status_wins():
    """All checks run, sync and async; each says for itself, and the worst is the whole."""
    clock = Clock()

    @health_checks()
    class Checks:
        @health_check()
        def fine(self, result: HealthCheckManager.Result) -> None:
            assert threading.current_thread() is not threading.main_thread()

        @health_check(name="low stock")
        async def check_stock(self, result: HealthCheckManager.Result) -> None:
            clock.now += 2
            result.set_status(HealthStatus.WARNING, "3 left")

    manager = HealthCheckManager([object(), Checks()], clock)
    health = await manager.check()
    assert health.status is HealthStatus.WARNING
    assert summary(health) == [("fine", HealthStatus.OK, ""), ("low stock", HealthStatus.WARNING, "3 left")]
    assert health.to_plain()["checks"][1] == {
        "name": "low stock",
        "status": "warning",
        "details": "3 left",
        "duration": 2.0,
    }


async def test_no_checks_are_fine():
    """Nothing to complain about is OK; checks may be added later."""

    class Checks:
        @health_check()
        def late(self, result: HealthCheckManager.Result) -> None: ...

    manager = HealthCheckManager()
    assert await manager.check() == HealthCheckManager.Health(HealthStatus.OK)
    manager.add(object(), Checks())
    assert summary(await manager.check()) == [("late", HealthStatus.OK, "")]


async def test_checks_run_at_the_same_time():
    """Two checks that wait for each other both finish, in the loop and in threads."""

    class Checks:
        def __init__(self) -> None:
            self.events = asyncio.Event(), asyncio.Event()
            self.barrier = threading.Barrier(2, timeout=30)

        @health_check()
        async def a(self, result: HealthCheckManager.Result) -> None:
            self.events[0].set()
            await self.events[1].wait()

        @health_check()
        async def b(self, result: HealthCheckManager.Result) -> None:
            self.events[1].set()
            await self.events[0].wait()

        @health_check()
        def c(self, result: HealthCheckManager.Result) -> None:
            self.barrier.wait()

        @health_check()
        def d(self, result: HealthCheckManager.Result) -> None:
            self.barrier.wait()

    assert (await HealthCheckManager([Checks()]).check()).status is HealthStatus.OK


@pytest.mark.parametrize("sync", [True, False])
async def test_a_check_that_raises_is_an_error(sync, caplog):
    """What it raises may be a secret: the details have only the id of the entry in the log, which has the traceback."""

    def plain(self, result: HealthCheckManager.Result) -> None:
        raise OSError("connect postgres://app:hunter2@db/prod failed")

    async def coroutine(self, result: HealthCheckManager.Result) -> None:
        raise OSError("connect postgres://app:hunter2@db/prod failed")

    health = await one(plain if sync else coroutine).check()
    (record,) = caplog.records
    details = f"the check failed; the server's log has it as check {record.check}"
    assert summary(health) == [("check", HealthStatus.ERROR, details)]
    assert (record.name, record.message) == (
        "meshcore.declare.health",
        f"health check check failed; it is told as check {record.check}",
    )
    assert len(record.check) == 16
    assert "hunter2" in str(record.exc_info[1])


async def test_an_async_check_is_cancelled_at_its_bound():
    """What takes too long is stopped and reported."""
    ended = []

    async def check(self, result: HealthCheckManager.Result) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    health = await one(check, fail_if_slower_than=0.01).check()
    assert summary(health) == [("check", HealthStatus.ERROR, "not done after 0.01 s")]
    assert ended == [True]


async def test_a_check_without_a_bound_has_the_managers():
    """The mesh gives it the setting `request_timeout`: who asks again and again must not pile up."""

    @health_checks()
    class Checks:
        @health_check()
        async def hang(self, result: HealthCheckManager.Result) -> None:
            await asyncio.Event().wait()

    @module(provides=[Checks])
    class Hanging: ...

    async with Mesh(Hanging, settings=Settings(registry="local:", request_timeout=0.01)) as mesh:
        health = await (await mesh.get(HealthCheckManager)).check()
    assert summary(health) == [("hang", HealthStatus.ERROR, "not done after 0.01 s")]


async def test_a_sync_check_is_reported_at_its_bound_and_not_started_twice():
    """The thread is left alone; while it still runs no second one is started; what it says late counts for nothing."""
    go, gone = threading.Event(), threading.Event()
    started = []
    clock = Clock()

    def check(self, result: HealthCheckManager.Result) -> None:
        started.append(True)
        if len(started) == 1:
            go.wait(30)
            result.set_status(HealthStatus.WARNING, "late")
            gone.set()

    # Long enough for the second one to be in time on a busy machine.
    manager = one(check, clock, fail_if_slower_than=0.5)
    first = await manager.check()
    assert summary(first) == [("check", HealthStatus.ERROR, "not done after 0.5 s")]
    clock.now += 5
    assert summary(await manager.check()) == [("check", HealthStatus.ERROR, "still running after 5 s")]
    go.set()
    await asyncio.to_thread(gone.wait, 30)
    while manager._checks[0]._thread_since is not None:
        await asyncio.to_thread(lambda: None)
    assert summary(await manager.check()) == [("check", HealthStatus.OK, "")]
    assert first.checks[0].status is HealthStatus.ERROR
    assert len(started) == 2


async def test_a_check_that_ends_too_late_is_an_error_too():
    """A slow check that could not be cancelled is an error with its time; an error of its own keeps its text."""
    clock = Clock()

    async def slow(self, result: HealthCheckManager.Result) -> None:
        clock.now += 2
        result.set_status(HealthStatus.WARNING)

    async def bad(self, result: HealthCheckManager.Result) -> None:
        clock.now += 2
        result.set_status(HealthStatus.ERROR, "bad")

    assert summary(await one(slow, clock, fail_if_slower_than=1).check()) == [
        ("check", HealthStatus.ERROR, "took 2 s, longer than 1 s")
    ]
    assert summary(await one(bad, clock, fail_if_slower_than=1).check()) == [("check", HealthStatus.ERROR, "bad")]


async def test_a_result_is_cached():
    """Within the time a stored result is answered, after it the check runs again; without a time it always runs."""
    clock = Clock()
    runs = []

    async def check(self, result: HealthCheckManager.Result) -> None:
        runs.append(True)
        result.set_status(HealthStatus.WARNING, str(len(runs)))

    manager = one(check, clock, cache=10)
    details = []
    for seconds in (0, 9.5, 0.5, 0):
        clock.now += seconds
        details.append((await manager.check()).checks[0].details)
    assert details == ["1", "1", "2", "2"]

    uncached = one(check, clock)
    assert [(await uncached.check()).checks[0].details for _ in range(2)] == ["3", "4"]


async def test_callers_during_a_run_share_it():
    """A caller that comes while a check runs gets that run's result, never an early OK."""
    begun, go = asyncio.Event(), asyncio.Event()
    runs = []

    async def check(self, result: HealthCheckManager.Result) -> None:
        runs.append(True)
        begun.set()
        await go.wait()
        result.set_status(HealthStatus.ERROR, "bad")

    manager = one(check, cache=10)
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(manager.check())]
        await begun.wait()
        callers += [tasks.create_task(manager.check()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in callers)
        go.set()
    assert [each.result().status for each in callers] == [HealthStatus.ERROR] * 3
    assert len(runs) == 1


async def test_a_cancelled_caller_leaves_the_check_to_the_next():
    """Cancelling whoever runs a check cancels nobody who waits for it."""
    begun, go = asyncio.Event(), asyncio.Event()
    runs = []

    async def check(self, result: HealthCheckManager.Result) -> None:
        runs.append(True)
        begun.set()
        await go.wait()

    manager = one(check)
    first = asyncio.create_task(manager.check())
    await begun.wait()
    second = asyncio.create_task(manager.check())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go.set()
    assert (await second).status is HealthStatus.OK
    assert len(runs) == 2


def test_declarations_are_checked():
    """A wrong signature and a negative time are reported."""

    class Checks:
        @health_check()
        def none(self) -> None: ...

        @health_check(cache=-1)
        def negative(self, result: HealthCheckManager.Result) -> None: ...

        @health_check()
        async def fine(self, result: HealthCheckManager.Result, extra: int = 0) -> None: ...

    assert health_problems(Checks) == [
        "Checks.none: a health check takes exactly one parameter, a HealthCheckManager.Result",
        "Checks.negative: cache and fail_if_slower_than are seconds, they cannot be negative",
    ]
    assert health_problems(object) == []


async def test_classes_with_health_checks_are_injectable():
    """`@health_checks()` suffices, with or without `@injectable()`; another scope than singleton is a problem."""

    @health_checks()
    class Alone: ...

    @health_checks()
    @injectable()
    class Both: ...

    @health_checks()
    @injectable(scope="request")
    class Wrong: ...

    async with Injector(Graph(map(recipe_of_class, (Alone, Both)))) as injector:
        assert [type(each) for each in injector.get_all(object)] == [Alone, Both]
    assert Graph([recipe_of_class(Wrong)]).problems == ["Wrong: its decorators name several scopes: request, singleton"]
