"""Interface, implementation and caller are `def` or `async def`, each as it likes: whoever calls, the call arrives."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meshcore import (
    BlockingMesh,
    Code,
    CommunicationError,
    LocalError,
    Mesh,
    Policy,
    Settings,
    awaitable,
    blocking,
    load_settings,
    with_policy,
)
from tests.integration.mesh.threads.doors import (
    USER,
    AsyncByAsync,
    AsyncBySync,
    DoorsModule,
    Inner,
    InnerImpl,
    Outer,
    SyncByAsync,
    SyncBySync,
)
from tests.integration.mesh.threads.doors_client import DoorsClient
from tests.integration.mesh.threads.interrupted import interrupted
from tests.support.processes import serve

MODULE = "tests.integration.mesh.threads.doors:DoorsModule"
KINDS = pytest.mark.parametrize(
    ("interface", "place"),
    [(AsyncByAsync, "loop"), (AsyncBySync, "thread"), (SyncByAsync, "loop"), (SyncBySync, "thread")],
    ids=["async-by-async", "async-by-def", "def-by-async", "def-by-def"],
)
"""The four kinds of interface and implementation. With two kinds of callers, these are all eight combinations."""


def settings(folder: Path | None = None) -> Settings:
    """Settings that find the servers of a folder, or nobody."""
    registry = f"directory://{folder}/registry" if folder else "local:"
    return load_settings({"registry": registry}, environ={}, directory=Path("/nonexistent"))


def local() -> Mesh:
    """A mesh that implements everything itself."""
    return Mesh(DoorsModule, settings=settings())


# --- All eight combinations -------------------------------------------------------------------------------------------


@KINDS
async def test_a_caller_with_async_def_here(interface: Any, place: str) -> None:
    """It awaits a method of either kind of interface."""
    async with local() as mesh:
        service = await mesh.get_service(interface)
        assert await awaitable(service.ask)("hi") == f"hi {os.getpid()} {place} nobody"
        assert await awaitable(with_policy(service, Policy(timeout=9.0)).ask)(text="ho") == (
            f"ho {os.getpid()} {place} nobody"
        )


@KINDS
def test_a_caller_with_def_here(interface: Any, place: str) -> None:
    """It gets the result of either kind of interface."""
    with BlockingMesh(DoorsModule, settings=settings()) as mesh:
        service = mesh.get_service(interface)
        expected = f"hi {os.getpid()} {place} nobody"
        assert blocking(service.ask)("hi") == expected
        assert blocking(with_policy(service, Policy(timeout=9.0)).ask)(text="hi") == expected
        assert mesh.run(awaitable(service.ask)("hi")) == expected


async def test_both_callers_elsewhere(tmp_path: Path) -> None:
    """The same from another process, over each channel."""
    async with serve(tmp_path, MODULE) as server, Mesh(DoorsClient, settings=settings(tmp_path)) as mesh:
        for channel in ("dispatch-json", "dispatch-msgpack"):
            for interface, place in KINDS.args[1]:
                service = await mesh.get_service(interface, channel)
                expected = f"hi {server.process.pid} {place} nobody"
                assert await awaitable(service.ask)("hi") == expected
                assert await asyncio.to_thread(blocking(service.ask), "hi") == expected


# --- blocking ---------------------------------------------------------------------------------------------------------


def test_the_mesh_runs_a_coroutine() -> None:
    """One that makes several calls, at once and with the context of the caller; its error is raised."""

    async def several(service: AsyncByAsync) -> list[str]:
        return await asyncio.gather(*(service.ask(text) for text in "ab"))

    async def fail() -> None:
        raise ZeroDivisionError

    with BlockingMesh(DoorsModule, settings=settings()) as mesh:
        token = USER.set("ada")
        try:
            answers = mesh.run(several(mesh.get_service(AsyncByAsync)))
        finally:
            USER.reset(token)
        assert answers == [f"{text} {os.getpid()} loop ada" for text in "ab"]
        with pytest.raises(ZeroDivisionError):
            mesh.run(fail())
        with pytest.raises(TimeoutError):
            mesh.run(asyncio.wait_for(mesh.get_service(Outer).wait(), 0.01))


def test_deadlines_and_the_end_of_the_mesh_end_a_blocking_call() -> None:
    """As they end a call of a `def` interface."""
    ends: list[LocalError] = []
    with BlockingMesh(DoorsModule, settings=settings()) as mesh:
        outer, impl = mesh.get_service(Outer), mesh.get(InnerImpl)
        with pytest.raises(CommunicationError) as late:
            blocking(with_policy(outer, Policy(timeout=0.05)).wait)()
        assert late.value.code is Code.DEADLINE_EXCEEDED

        def wait() -> None:
            with pytest.raises(LocalError) as ended:
                mesh.run(outer.wait())
            ends.append(ended.value)

        thread = threading.Thread(target=wait)
        del impl.seen[:]
        thread.start()
        while "waiting" not in impl.seen:
            mesh.run(asyncio.sleep(0.001))
    thread.join(20)
    assert [end.code for end in ends] == [Code.CANCELED]


@contextmanager
def refused(text: str) -> Iterator[None]:
    """A LocalError of this text is raised, and nothing else goes wrong."""
    with pytest.raises(LocalError) as error:
        yield
    assert error.value.message == text


@pytest.mark.filterwarnings("error")
async def test_a_running_loop_is_not_blocked() -> None:
    """Neither the mesh's nor another; the text says what to write instead, and nothing was called."""
    async with local() as mesh:
        outer, inner, impl = await mesh.get_service(Outer), await mesh.get_service(Inner), await mesh.get(InnerImpl)
        with refused("blocking(outer.wait) would block this thread's running event loop: await outer.wait(...) itself"):
            blocking(outer.wait)()
        with refused(
            "inner.wait is declared with def and would block this thread's running event loop: await "
            "awaitable(inner.wait)(...), declare it with async def, or call it in a thread, e.g. await "
            "anyio.to_thread.run_sync(...)"
        ):
            inner.wait()
        assert impl.seen == []
    with BlockingMesh(DoorsModule, settings=settings()) as blocked:
        with refused("run() would block this thread's running event loop: await it there"):
            blocked.run(blocked.get_service(Outer).wait())
        assert blocked.get(InnerImpl).seen == []


@pytest.mark.filterwarnings("error")
def test_a_blocking_mesh_that_is_not_entered_runs_nothing() -> None:
    """It says so, and the coroutine is closed."""
    mesh = BlockingMesh(DoorsModule, settings=settings())
    with refused("this mesh is not running; use it inside `with BlockingMesh(...)`"):
        mesh.run(asyncio.sleep(0))
    with mesh:
        ask = blocking(mesh.get_service(AsyncByAsync).ask)
    with refused("this mesh is not running; use it inside `with BlockingMesh(...)`"):
        mesh.run(asyncio.sleep(0))
    with refused("async-by-async.ask was called, but the mesh has stopped"):
        ask("hi")


def test_ctrl_c_ends_what_a_mesh_runs() -> None:
    """A KeyboardInterrupt in the thread that waits cancels the coroutine, stops the mesh and ends the program."""
    assert interrupted("mesh.run(mesh.get_service(Outer).wait())") == (0, "interrupted\n", "")


# --- awaitable --------------------------------------------------------------------------------------------------------


async def test_a_caller_that_leaves_cancels_an_awaitable_call() -> None:
    """No thread waits for it; the implementation is cancelled at once."""
    async with local() as mesh:
        inner, impl = await mesh.get_service(Inner), await mesh.get(InnerImpl)
        waiting = asyncio.create_task(awaitable(inner.wait)())  # type: ignore[func-returns-value]
        async with asyncio.timeout(20):
            while impl.seen != ["waiting"]:
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert impl.seen == ["waiting", "cancelled"]


async def test_an_awaitable_call_takes_no_thread() -> None:
    """So any number may wait, however many threads there are."""
    async with local() as mesh:
        inner, impl = await mesh.get_service(Inner), await mesh.get(InnerImpl)
        threads = threading.active_count()
        waiting = [asyncio.create_task(awaitable(inner.wait)()) for _ in range(200)]  # type: ignore[func-returns-value]
        while len(impl.seen) < 200:
            await asyncio.sleep(0)
        assert threading.active_count() == threads
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)


async def test_in_an_implementation() -> None:
    """A `def` implementation calls an `async def` interface, and the other way round, with the deadline of its call."""
    async with local() as mesh:
        outer, inner = await mesh.get_service(Outer), await mesh.get_service(Inner)

        def work() -> str:
            return blocking(outer.where)("x")

        assert (await asyncio.to_thread(work)).endswith("loop nobody")
        assert (await awaitable(inner.where)("x")).endswith("loop nobody")


# --- What they take ---------------------------------------------------------------------------------------------------


async def test_helpers_that_the_interface_implements() -> None:
    """They run at the caller, on the loop of the mesh or in a thread, and call the proxy."""
    async with local() as mesh:
        async_, sync = await mesh.get_service(AsyncByAsync), await mesh.get_service(SyncBySync)
        pid = os.getpid()
        twice = await asyncio.to_thread(blocking(async_.ask_twice), "hi")
        assert twice == f"hi {pid} loop nobody, hi {pid} loop nobody"
        assert await awaitable(sync.ask_twice)("hi") == f"hi {pid} thread nobody, hi {pid} thread nobody"
        with refused("blocking(ask_twice) would block this thread's running event loop: await it there"):
            blocking(async_.ask_twice)("hi")


async def test_the_kind_that_fits_already_stays_as_it_is() -> None:
    """Code may say `awaitable` or `blocking` whatever the interface declares."""
    async with local() as mesh:
        async_, sync = await mesh.get_service(AsyncByAsync), await mesh.get_service(SyncBySync)
        assert awaitable(async_.ask) == async_.ask
        assert blocking(sync.ask) == sync.ask


async def test_signature_and_name_are_those_of_the_method() -> None:
    """Wrong arguments are refused by Python, at once."""
    async with local() as mesh:
        async_, sync = await mesh.get_service(AsyncByAsync), await mesh.get_service(SyncBySync)
        for method, other in ((sync.ask, awaitable(sync.ask)), (async_.ask, blocking(async_.ask))):
            assert inspect.signature(other) == inspect.signature(method)
            assert other.__name__ == "ask"
            with pytest.raises(TypeError, match="missing 1 required positional argument: 'text'"):
                other()  # type: ignore[operator]
        assert inspect.iscoroutinefunction(awaitable(sync.ask))
        assert not inspect.iscoroutinefunction(blocking(async_.ask))


class FakeSync(SyncBySync):
    """A fake, as in a unit test without a mesh."""

    def ask(self, text: str) -> str:
        return f"{text} {threading.current_thread() is threading.main_thread()}"


class FakeAsync(AsyncByAsync):
    """Another one."""

    async def ask(self, text: str) -> str:
        await asyncio.sleep(0)
        return text


def test_fakes_without_a_mesh() -> None:
    """A class under test needs no mesh: a thread, or a loop of its own, runs the method of the fake."""

    async def main() -> tuple[str, str]:
        return await awaitable(FakeSync().ask)("hi"), await awaitable(FakeAsync().ask)("hi")

    assert asyncio.run(main()) == ("hi False", "hi")
    assert blocking(FakeAsync().ask)("hi") == "hi"
    assert blocking(FakeSync().ask)("hi") == "hi True"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", [blocking, awaitable])
def test_what_is_no_method(function: Callable[[Any], object]) -> None:
    """The method is not called in the parentheses; so says the text."""
    name = function.__name__
    with refused(
        f"{name}() takes a method of a service, such as greeting.hello, and got coroutine: do not call the method, "
        f"call what {name}() returns"
    ):
        function(FakeAsync().ask("hi"))
    with refused(f"{name}() takes a method of a service, such as greeting.hello, and got int"):
        function(7)


def test_a_function_that_was_not_called_is_not_awaited() -> None:
    """It would be given back as it is."""
    never: Any = FakeAsync().ask
    with refused("run() awaits a call, such as greeting.hello(), and got method: call it"):
        BlockingMesh(DoorsModule).run(never)
