"""Between the event loop and threads, both ways: in this process, and to a real server process."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from meshcore import (
    BlockingMesh,
    Code,
    CommunicationError,
    ComponentRegistry,
    LocalError,
    Mesh,
    RemoteError,
    Settings,
    load_settings,
    module,
    on_init,
)
from meshcore.registry import LocalComponentRegistry
from tests.integration.mesh.threads.doors import (
    USER,
    AsyncByAsync,
    AsyncBySync,
    DoorsModule,
    Inner,
    InnerImpl,
    Outer,
    OuterImpl,
    SyncByAsync,
    SyncBySync,
)
from tests.integration.mesh.threads.doors_client import DoorsClient
from tests.integration.mesh.threads.interrupted import interrupted
from tests.support.processes import ROOT, serve

MODULE = "tests.integration.mesh.threads.doors:DoorsModule"
SYNC = [(SyncBySync, "thread"), (SyncByAsync, "loop")]
ASYNC = [(AsyncBySync, "thread"), (AsyncByAsync, "loop")]


def settings(folder: Path | None = None, **arguments: object) -> Settings:
    """Settings that find the servers of a folder, or nobody."""
    registry = f"directory://{folder}/registry" if folder else "local:"
    return load_settings({"registry": registry, **arguments}, environ={}, directory=Path("/nonexistent"))


def local(**arguments: object) -> Mesh:
    """A mesh that implements everything itself."""
    return Mesh(DoorsModule, settings=settings(**arguments))


# --- The four combinations --------------------------------------------------------------------------------------------


async def test_all_four_combinations_here() -> None:
    """In this process: a `def` implementation runs in a thread, an `async def` one on the loop, whoever calls."""
    async with local() as mesh:
        for interface, place in ASYNC:
            service = await mesh.get_service(interface)
            assert await service.ask("hi") == f"hi {os.getpid()} {place} nobody"
        for blocking, place in SYNC:
            proxy = await mesh.get_service(blocking)
            assert await asyncio.to_thread(proxy.ask, "hi") == f"hi {os.getpid()} {place} nobody"
            assert await anyio.to_thread.run_sync(proxy.ask, "ho") == f"ho {os.getpid()} {place} nobody"


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack"])
async def test_all_four_combinations_elsewhere(tmp_path: Path, channel: str) -> None:
    """The same with the implementation in another process."""
    async with serve(tmp_path, MODULE) as server, Mesh(DoorsClient, settings=settings(tmp_path)) as mesh:
        pid = server.process.pid
        for interface, place in ASYNC:
            service = await mesh.get_service(interface, channel)
            assert await service.ask("hi") == f"hi {pid} {place} nobody"
        for blocking, place in SYNC:
            proxy = await mesh.get_service(blocking, channel)
            assert await asyncio.to_thread(proxy.ask, "hi") == f"hi {pid} {place} nobody"


async def test_a_def_proxy_on_a_running_loop_raises_at_once() -> None:
    """It would block the loop that has to answer it; the text says what to do, and nothing was called."""
    async with local() as mesh:
        inner = await mesh.get_service(Inner)
        with pytest.raises(LocalError) as refused:
            inner.wait()
        assert refused.value.code is Code.FAILED_PRECONDITION
        assert refused.value.message == (
            "inner.wait is declared with def and would block this thread's running event loop: await "
            "awaitable(inner.wait)(...), declare it with async def, or call it in a thread, e.g. await "
            "anyio.to_thread.run_sync(...)"
        )
        assert await asyncio.to_thread(inner.history) == []


async def test_a_def_implementation_that_raises_stop_iteration() -> None:
    """No future can carry a StopIteration; the caller gets an error that says so, and does not wait forever."""
    async with local() as mesh, asyncio.timeout(5):
        outer = await mesh.get_service(Outer)
        with pytest.raises(RuntimeError, match=r"OuterImpl\.stop_iteration raised StopIteration"):
            await outer.stop_iteration()


# --- BlockingMesh -----------------------------------------------------------------------------------------------------


def test_a_blocking_mesh_serves_many_threads() -> None:
    """Any thread may call at any time, and gets its own answer."""
    with BlockingMesh(DoorsModule, settings=settings()) as mesh, ThreadPoolExecutor(8) as threads:
        for blocking, _ in SYNC:
            service = mesh.get_service(blocking)
            answers = list(threads.map(service.ask, [str(number) for number in range(100)]))
            assert [answer.split()[0] for answer in answers] == [str(number) for number in range(100)]
        assert mesh.get(InnerImpl).seen == []


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_a_blocking_mesh_reaches_other_processes(tmp_path: Path, use_uvloop: bool) -> None:  # noqa: FBT001
    """A synchronous program finds and calls a server."""
    if use_uvloop:
        pytest.importorskip("uvloop")

    async def with_server() -> None:
        async with serve(tmp_path, MODULE) as server:
            assert await asyncio.to_thread(call) == f"hi {server.process.pid} thread nobody"

    def call() -> str:
        with BlockingMesh(DoorsClient, settings=settings(tmp_path), use_uvloop=use_uvloop) as mesh:
            mesh.wait_for(SyncBySync)
            mesh.set_preferred_channel("dispatch-json")
            return mesh.get_service(SyncBySync).ask("hi")

    asyncio.run(with_server())


def test_waiting_for_nobody_ends() -> None:
    """`wait_for` gives up when its time is up and says what the registry said."""
    with BlockingMesh(DoorsClient, settings=settings()) as mesh:
        with pytest.raises(CommunicationError) as late:
            mesh.wait_for(Inner, 0.05)
        assert late.value.message == (
            "wait_for(Inner) was not answered within 0.05 s: component 'doors' is offered by nobody, "
            "says LocalComponentRegistry()"
        )
        with pytest.raises(CommunicationError, match="component 'doors' is offered by nobody"):
            mesh.get_service(Inner).history()


def test_a_blocking_mesh_that_is_not_running() -> None:
    """Before and after its block it says so; calls of old proxies fail at once."""
    mesh = BlockingMesh(DoorsModule, settings=settings())
    with pytest.raises(LocalError, match="not running"):
        mesh.get_service(Inner)
    with mesh:
        inner = mesh.get_service(Inner)
    with pytest.raises(LocalError, match="not running"):
        mesh.get_service(Inner)
    with pytest.raises(LocalError) as stopped:
        inner.history()
    assert stopped.value.message == "inner.history was called, but the mesh has stopped"
    with pytest.raises(LocalError, match="can be entered once"), mesh:
        pass


def test_stopping_a_blocking_mesh_while_a_thread_waits() -> None:
    """The waiting thread gets an error, and neither it nor the mesh hangs."""
    with ThreadPoolExecutor(1) as threads:
        with BlockingMesh(DoorsModule, settings=settings()) as mesh:
            waiting = threads.submit(mesh.get_service(Inner).wait)
            impl = mesh.get(InnerImpl)
            until(lambda: impl.seen == ["waiting"])
        with pytest.raises(LocalError, match=r"inner\.wait was cancelled: the mesh stops") as stopped:
            waiting.result(5)
        assert stopped.value.code is Code.CANCELED
        assert impl.seen == ["waiting", "cancelled"]


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return when it is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_ctrl_c_ends_a_blocking_call_and_its_mesh() -> None:
    """A KeyboardInterrupt in the thread that waits cancels the call, stops the mesh and ends the program."""
    assert interrupted("mesh.get_service(Inner).wait()") == (0, "interrupted\n", "")


EXITING = """
import sys
from pathlib import Path
from meshcore import BlockingMesh, load_settings
from tests.integration.mesh.threads.doors import DoorsModule, Inner, InnerImpl

settings = load_settings({"registry": "local:"}, environ={}, directory=Path("/nonexistent"))
class Leaving(InnerImpl):
    async def history(self):
        sys.exit(5)

with BlockingMesh(DoorsModule, settings=settings, overrides={Inner: Leaving}) as mesh:
    inner = mesh.get_service(Inner)
    try:
        inner.history()
    except SystemExit as error:
        print(error.code, inner.where("x").split()[2], flush=True)
    inner.history()
"""


def test_an_implementation_in_this_process_may_end_it() -> None:
    """`sys.exit()` of a local call reaches the thread that called, and does not end that of the loop."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXITING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (5, "5 loop\n", "")


# --- What crosses -----------------------------------------------------------------------------------------------------


async def test_context_variables_cross_both_doors() -> None:
    """From the caller into the worker thread, and from there back onto the loop."""
    async with local() as mesh:
        outer = await mesh.get_service(Outer)
        token = USER.set("ada")
        try:
            pid = os.getpid()
            assert await outer.where("x") == f"x {pid} thread ada > x {pid} loop ada"
        finally:
            USER.reset(token)
        assert "nobody" in await outer.where("x")


def test_context_variables_of_a_plain_thread() -> None:
    """A synchronous caller's context is that of its call."""
    with BlockingMesh(DoorsModule, settings=settings()) as mesh:
        inner = mesh.get_service(Inner)
        context = contextvars.copy_context()
        context.run(USER.set, "eve")
        assert context.run(inner.where, "x").endswith("loop eve")
        assert inner.where("x").endswith("loop nobody")


async def test_the_deadline_crosses_both_doors(tmp_path: Path) -> None:
    """What a remote caller has left is what the nested call, made in a thread of the server, has left."""
    async with (
        serve(tmp_path, MODULE),
        Mesh(DoorsClient, settings=settings(tmp_path, timeout=3.0)) as mesh,
    ):
        outer = await mesh.get_service(Outer)
        assert 0 < await outer.remaining() < 3.0


async def test_cancelling_a_call_cancels_what_its_thread_waits_for() -> None:
    """A `def` implementation blocked in a call of its own is freed when its caller leaves."""
    async with local() as mesh:
        outer, inner = await mesh.get_service(Outer), await mesh.get(InnerImpl)
        impl = await mesh.get(OuterImpl)
        call = asyncio.create_task(outer.wait())
        async with asyncio.timeout(5):
            while inner.seen != ["waiting"]:
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.to_thread(impl.left.wait)
        assert inner.seen == ["waiting", "cancelled"]
        assert isinstance(impl.error, LocalError)
        assert impl.error.code is Code.CANCELED


async def test_leaving_a_server_frees_its_thread(tmp_path: Path) -> None:
    """The same when the caller is another process."""
    async with serve(tmp_path, MODULE), Mesh(DoorsClient, settings=settings(tmp_path)) as mesh:
        outer, inner = await mesh.get_service(Outer), await mesh.get_service(Inner)
        call = asyncio.create_task(outer.wait())
        async with asyncio.timeout(10):
            while await asyncio.to_thread(inner.history) != ["waiting"]:
                await asyncio.sleep(0.01)
            call.cancel()
            while await asyncio.to_thread(inner.history) != ["waiting", "cancelled"]:
                await asyncio.sleep(0.01)


async def test_errors_cross_a_def_proxy(tmp_path: Path) -> None:
    """A server's error reaches a blocked thread as what it is."""
    async with serve(tmp_path, MODULE), Mesh(DoorsClient, settings=settings(tmp_path)) as mesh:
        outer = await mesh.get_service(Outer)
        with pytest.raises(RemoteError) as failed:
            await outer.stop_iteration()
        assert failed.value.code is Code.INTERNAL


# --- Lives of a mesh --------------------------------------------------------------------------------------------------


async def test_two_meshes_share_nothing() -> None:
    """Each has its own implementations, proxies, preferred channel and end."""
    async with local() as first:
        async with local() as second:
            assert await first.get(InnerImpl) is not await second.get(InnerImpl)
            one, two = await first.get_service(AsyncByAsync), await second.get_service(AsyncByAsync)
            assert one is not two
            assert one is await first.get_service(AsyncByAsync)
            first.set_preferred_channel("rest")
            assert (preferred(first), preferred(second)) == ("rest", "")
        with pytest.raises(LocalError):
            await two.ask("x")
        assert (await one.ask("x")).startswith("x ")


def preferred(mesh: Mesh) -> str:
    """The mesh's preferred channel."""
    preferred: str = mesh.runtime.destinations.preferred
    return preferred


async def test_two_meshes_may_share_a_registry() -> None:
    """A registry object may be handed to several meshes; the one that only calls announces nothing in it."""
    shared = LocalComponentRegistry()
    overrides: dict[type, object] = {ComponentRegistry: shared}
    async with (
        Mesh(DoorsModule, settings=settings(), overrides=overrides),
        Mesh(DoorsClient, settings=settings(), overrides=overrides) as client,
    ):
        assert client.runtime.registry is shared
        assert await shared.instances() == {}
        service = await client.get_service(AsyncByAsync)
        with pytest.raises(CommunicationError, match="offered by nobody"):
            await service.ask("x")


async def test_a_mesh_may_be_left_by_another_task() -> None:
    """Fixtures and notebooks enter in one task and leave in another."""
    mesh = local()
    await asyncio.create_task(mesh.__aenter__())  # type: ignore[arg-type]
    assert (await (await mesh.get_service(AsyncByAsync)).ask("x")).startswith("x ")
    await asyncio.create_task(mesh.__aexit__(None, None, None))  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="has stopped"):
        await mesh.get_service(AsyncByAsync)


async def test_entering_may_be_cancelled() -> None:
    """What was started until then is stopped, and the task ends as cancelled."""
    entering = asyncio.create_task(local().__aenter__())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert [task for task in asyncio.all_tasks() if "meshcore" in task.get_name()] == []


async def test_after_the_end_calls_fail_at_once_with_a_clear_text() -> None:
    """Proxies of a mesh that has stopped say so, async ones and, in a thread, `def` ones; so does the mesh."""
    async with local() as mesh:
        service, inner = await mesh.get_service(AsyncByAsync), await mesh.get_service(Inner)
    with pytest.raises(LocalError) as stopped:
        await service.ask("x")
    assert stopped.value.message == "async-by-async.ask was called, but the mesh has stopped"
    with pytest.raises(LocalError, match=r"inner\.history was called, but the mesh has stopped"):
        await asyncio.to_thread(inner.history)
    with pytest.raises(LocalError, match="this mesh has stopped"):
        await mesh.get_service(Inner)
    with pytest.raises(LocalError, match="can be entered once"):
        await mesh.__aenter__()


async def test_a_mesh_that_stops_frees_threads_that_wait(caplog: pytest.LogCaptureFixture) -> None:
    """A thread blocked in a call is not left waiting when a mesh on a running loop stops."""
    results: list[Any] = []

    def wait(inner: Inner) -> None:
        try:
            inner.wait()
        except LocalError as error:
            results.append(error)

    async with local() as mesh:
        inner, impl = await mesh.get_service(Inner), await mesh.get(InnerImpl)
        thread = threading.Thread(target=wait, args=(inner,))
        thread.start()
        while impl.seen != ["waiting"]:
            await asyncio.sleep(0)
    await asyncio.to_thread(thread.join, 5)
    assert [error.code for error in results] == [Code.CANCELED]
    assert caplog.text == ""


class Eager:
    """Calls a service too early."""

    def __init__(self, service: AsyncByAsync) -> None:
        self.service = service

    @on_init
    async def begin(self) -> None:
        """Call it."""
        await self.service.ask("x")


async def test_a_call_before_everything_is_built() -> None:
    """What is made at start gets proxies, but may not call them yet; the text says when."""

    @module(imports=[DoorsModule], provides=[Eager])
    class EagerModule: ...

    mesh = Mesh(EagerModule, settings=settings())
    with pytest.raises(LocalError) as early:
        await mesh.__aenter__()
    assert early.value.message == (
        "async-by-async.ask was called while the mesh is being built; call services from startup() on"
    )
