"""Proxies and meshes that are used on another event loop, or in another thread, than the mesh's own.

A call from there is handed over to the loop of the mesh, or refused before anything is sent. Never anything else.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from meshcore import (
    BlockingMesh,
    Code,
    LocalError,
    Mesh,
    MeshApp,
    MeshError,
    Policy,
    RemoteError,
    Settings,
    load_settings,
    with_policy,
)
from tests.integration.mesh.threads.doors import USER, AsyncByAsync, AsyncBySync, DoorsModule, Inner, InnerImpl, Outer
from tests.integration.mesh.threads.doors_client import DoorsClient
from tests.support.processes import serve

T = TypeVar("T")

MODULE = "tests.integration.mesh.threads.doors:DoorsModule"
CHANNELS = ["dispatch-json", "dispatch-msgpack"]
DOES_NOT_RUN = "the event loop on which the mesh was started does not run"
HAS_ENDED = "has stopped: the event loop on which it was started has ended"


def settings(folder: Path | None = None) -> Settings:
    """Settings that find the servers of a folder, or nobody."""
    registry = f"directory://{folder}/registry" if folder else "local:"
    return load_settings({"registry": registry}, environ={}, directory=Path("/nonexistent"))


def local() -> Mesh:
    """A mesh that implements everything itself."""
    return Mesh(DoorsModule, settings=settings())


async def elsewhere(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What a coroutine gives that another loop awaits, in another thread; this loop runs on meanwhile."""
    return await asyncio.to_thread(lambda: asyncio.run(make()))


def refusal(call: Callable[[], object]) -> LocalError:
    """The error of a call that is refused."""
    with pytest.raises(LocalError) as refused:
        call()
    assert refused.value.code is Code.FAILED_PRECONDITION
    assert not refused.value.processed
    return refused.value


# --- Handed over ------------------------------------------------------------------------------------------------------


async def test_a_call_from_another_loop_runs_here() -> None:
    """A local implementation runs on the loop of the mesh, with the context of the caller, or in a worker thread."""
    async with local() as mesh:
        home = asyncio.get_running_loop()
        for interface, place in ((AsyncByAsync, "loop"), (AsyncBySync, "thread")):
            service = await mesh.get_service(interface)

            async def ask(service: AsyncByAsync | AsyncBySync = service) -> str:
                assert asyncio.get_running_loop() is not home
                USER.set("eve")
                return await service.ask("hi")

            assert await elsewhere(ask) == f"hi {os.getpid()} {place} eve"


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_call_from_another_loop_reaches_another_process(tmp_path: Path, channel: str) -> None:
    """It uses the connections of the mesh, which belong to its loop, also for calls with a policy of their own."""
    async with serve(tmp_path, MODULE) as server, Mesh(DoorsClient, settings=settings(tmp_path)) as mesh:
        service = await mesh.get_service(AsyncByAsync, channel)
        expected = f"hi {server.process.pid} loop nobody"
        assert await service.ask("hi") == expected  # there is a connection in the pool now

        async def many() -> list[str]:
            bounded = with_policy(service, Policy(timeout=5.0))
            return await asyncio.gather(*(each.ask("hi") for each in (service, bounded) * 10))

        assert await asyncio.gather(*(elsewhere(many) for _ in range(3))) == [[expected] * 20] * 3
        assert await service.ask("hi") == expected


async def test_errors_and_deadlines_cross(tmp_path: Path) -> None:
    """A caller on another loop gets the error of the server, and of its own policy."""
    async with serve(tmp_path, MODULE), Mesh(DoorsClient, settings=settings(tmp_path)) as mesh:
        outer = await mesh.get_service(Outer)
        with pytest.raises(RemoteError) as failed:
            await elsewhere(outer.stop_iteration)
        assert failed.value.code is Code.INTERNAL
        with pytest.raises(MeshError) as late:
            await elsewhere(with_policy(outer, Policy(timeout=0.05)).wait)
        assert late.value.code is Code.DEADLINE_EXCEEDED


async def test_a_caller_on_another_loop_that_leaves_cancels_its_call() -> None:
    """A timeout over there ends the implementation here."""
    async with local() as mesh:
        outer, impl = await mesh.get_service(Outer), await mesh.get(InnerImpl)

        async def leave() -> None:
            waiting = asyncio.create_task(outer.wait())
            while impl.seen != ["waiting"]:
                await asyncio.sleep(0.001)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        async with asyncio.timeout(20):
            await elsewhere(leave)
            while impl.seen != ["waiting", "cancelled"]:
                await asyncio.sleep(0.001)


async def test_a_mesh_that_stops_frees_a_caller_on_another_loop() -> None:
    """It is not left waiting for ever."""
    async with asyncio.timeout(20):
        async with local() as mesh:
            outer, impl = await mesh.get_service(Outer), await mesh.get(InnerImpl)
            waiting = asyncio.create_task(elsewhere(outer.wait))
            while impl.seen != ["waiting"]:
                await asyncio.sleep(0.001)
        with pytest.raises(LocalError) as ended:
            await waiting
    assert ended.value.code is Code.CANCELED


async def test_the_methods_of_a_mesh_on_another_loop(tmp_path: Path) -> None:
    """Proxies, objects and explanations are made on the loop of the mesh, where their tasks live."""
    async with serve(tmp_path, MODULE) as server, Mesh(DoorsClient, settings=settings(tmp_path)) as mesh:

        async def first() -> str:
            await mesh.wait_for(AsyncByAsync)
            mesh.set_preferred_channel("dispatch-json")
            service = await mesh.get_service(AsyncByAsync)
            return await service.ask("hi")

        assert await elsewhere(first) == f"hi {server.process.pid} loop nobody"
        there, here = await asyncio.to_thread(mesh.why, AsyncByAsync, "ask"), mesh.why(AsyncByAsync, "ask")
        assert [each.instance for each in there.instances] == [each.instance for each in here.instances] != []
    async with local() as mesh:
        assert await elsewhere(lambda: mesh.get(InnerImpl)) is await mesh.get(InnerImpl)


async def test_a_mesh_is_stopped_from_another_loop() -> None:
    """`asyncio.run(mesh.stop())` in a thread ends it in order, once."""
    mesh = await local().start()
    service = await mesh.get_service(AsyncByAsync)
    async with asyncio.timeout(20):
        await asyncio.gather(elsewhere(mesh.stop), elsewhere(mesh.stop))
    with pytest.raises(LocalError, match=r"async-by-async\.ask was called, but the mesh has stopped$"):
        await elsewhere(lambda: service.ask("hi"))
    with pytest.raises(LocalError, match=r"this mesh has stopped$"):
        await mesh.get_service(AsyncByAsync)
    assert [task for task in asyncio.all_tasks() if "meshcore" in task.get_name()] == []


def test_the_loop_of_a_blocking_mesh() -> None:
    """Coroutines of its `async def` proxies may be awaited on any loop."""
    with BlockingMesh(DoorsModule, settings=settings()) as mesh, ThreadPoolExecutor(4) as threads:
        service = mesh.get_service(AsyncByAsync)
        answers = threads.map(lambda number: asyncio.run(_ask(service, str(number))), range(20))
        assert [answer.split()[0] for answer in answers] == [str(number) for number in range(20)]


async def _ask(service: AsyncByAsync, text: str) -> str:
    return await service.ask(text)


def test_a_loop_that_goes_on_in_another_thread() -> None:
    """The loop counts, not the thread: a call on the loop of the mesh is made there and then."""
    loop = asyncio.new_event_loop()
    try:
        mesh = loop.run_until_complete(local().start())
        service = loop.run_until_complete(mesh.get_service(AsyncByAsync))
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(loop.run_until_complete, _ask(service, "hi")).result()
            assert answer == f"hi {os.getpid()} loop nobody"
            threads.submit(loop.run_until_complete, mesh.stop()).result()
    finally:
        loop.close()


@pytest.mark.parametrize("at_home", [False, True])
def test_uvloop(at_home: bool) -> None:  # noqa: FBT001
    """The loop of the mesh, or that of its caller, is one of uvloop."""
    uvloop = pytest.importorskip("uvloop")
    runs: tuple[Callable[[Any], Any], Callable[[Any], Any]] = (uvloop.run, asyncio.run)
    home, away = runs if at_home else runs[::-1]

    async def main() -> None:
        async with local() as mesh:
            service = await mesh.get_service(AsyncByAsync)
            assert await service.ask("ho") == f"ho {os.getpid()} loop nobody"
            answer = await asyncio.to_thread(lambda: away(_ask(service, "hi")))
            assert answer == f"hi {os.getpid()} loop nobody"

    home(main())


async def test_an_application_is_stopped_from_another_loop() -> None:
    """Its report is made and it is stopped where it runs."""
    app = MeshApp(DoorsModule, settings=settings())
    async with asyncio.timeout(30):
        async with app.running():
            assert (await elsewhere(app.report))["components"] == (await app.report())["components"]
            await asyncio.gather(elsewhere(app.stop), elsewhere(app.stop), app.stop())
            assert app.mesh.runtime is not None
            await asyncio.to_thread(app.hurry)
        await elsewhere(app.stop)  # there is nothing to do any more


# --- Refused ----------------------------------------------------------------------------------------------------------


async def test_without_a_loop_of_asyncio() -> None:
    """Another library that drives the coroutine could not be woken up."""
    async with local() as mesh:
        inner, service = await mesh.get(InnerImpl), await mesh.get_service(Outer)
        error = await asyncio.to_thread(refusal, lambda: service.wait().send(None))  # type: ignore[attr-defined]
        assert error.message == (
            "outer.wait is awaited without a running event loop of asyncio: await it in code that asyncio runs"
        )
        assert inner.seen == []


def test_a_loop_that_does_not_run() -> None:
    """Nothing would ever answer, so nothing is sent; whatever is called, from a thread or from another loop.

    So it is with a fixture of pytest-asyncio whose loop is that of the module, and a test with a loop of its own.
    """
    loop = asyncio.new_event_loop()
    try:
        mesh = loop.run_until_complete(local().start())
        asked: list[Callable[[], object]] = []
        outer, inner = (loop.run_until_complete(mesh.get_service(each)) for each in (Outer, Inner))
        impl = loop.run_until_complete(mesh.get(InnerImpl))
        asked = [
            lambda: asyncio.run(outer.wait()),  # type: ignore[attr-defined]
            lambda: inner.wait(),  # type: ignore[attr-defined]  # noqa: PLW0108
            lambda: asyncio.run(mesh.get_service(Outer)),
            lambda: asyncio.run(mesh.wait_for(Outer)),
            lambda: asyncio.run(mesh.get(InnerImpl)),
            lambda: mesh.why(Outer, "wait"),
            lambda: asyncio.run(mesh.stop()),
        ]
        for call in asked:
            assert DOES_NOT_RUN in refusal(call).message
        assert impl.seen == []
        loop.run_until_complete(mesh.stop())
    finally:
        loop.close()


def test_a_loop_that_has_ended() -> None:
    """`asyncio.run` has stopped the mesh with its loop: whatever is called then says so, and what to do."""
    kept: list[Any] = []

    async def start() -> Mesh:
        mesh = await local().start()
        kept.extend([await mesh.get_service(Outer), await mesh.get_service(Inner), await mesh.get(InnerImpl)])
        return mesh

    mesh = asyncio.run(start())
    outer, inner, impl = kept
    for call in (
        lambda: asyncio.run(outer.wait()),
        inner.wait,
        lambda: asyncio.run(mesh.get_service(Outer)),
        lambda: asyncio.run(mesh.wait_for(Outer)),
        lambda: asyncio.run(mesh.get(InnerImpl)),
        lambda: mesh.why(Outer, "wait"),
        lambda: mesh.set_preferred_channel("rest"),
    ):
        message = refusal(call).message
        assert HAS_ENDED in message
        assert "within one asyncio.run(), or use BlockingMesh" in message
    assert impl.seen == []
    asyncio.run(mesh.stop())  # it has stopped: there is nothing to do


def test_a_loop_that_waits_for_the_caller() -> None:
    """It cannot answer, as under a test client in whose thread the mesh's loop waits: this says so, and ends."""

    async def main() -> list[str]:
        async with local() as mesh:
            mesh.runtime.bridge._patience = 0.05
            outer, inner, impl = (
                await mesh.get_service(Outer),
                await mesh.get_service(Inner),
                await mesh.get(InnerImpl),
            )
            texts: list[str] = []

            def call() -> None:
                for each in (lambda: asyncio.run(outer.wait()), inner.wait):  # type: ignore[arg-type]
                    with pytest.raises(LocalError) as late:
                        each()
                    assert late.value.code is Code.DEADLINE_EXCEEDED
                    texts.append(late.value.message)

            thread = threading.Thread(target=call)
            thread.start()
            thread.join()  # blocks the loop
            await asyncio.to_thread(inner.history)  # what was given up would have been begun before this
            assert impl.seen == []
            return texts

    assert asyncio.run(main()) == [
        f"{name}.wait was called from another thread, and the mesh's event loop has not begun with it within 0.05 s: "
        "something blocks that loop; it must not wait for the thread that calls"
        for name in ("outer", "inner")
    ]


def test_a_blocking_mesh_on_its_own_loop() -> None:
    """It would wait for itself; the text says so."""
    with BlockingMesh(DoorsModule, settings=settings()) as mesh:

        async def inside() -> None:
            for call in (lambda: mesh.get_service(Outer), lambda: mesh.get(InnerImpl), lambda: mesh.wait_for(Outer)):
                assert "used on its own event loop, which it would block" in refusal(call).message

        mesh.run(inside())


async def test_requests_on_another_loop_than_the_lifespan() -> None:
    """A test client without `with` does that: the request is refused before anything runs."""
    app = MeshApp(DoorsModule, settings=settings())

    async def request() -> None:
        scope = {"type": "http", "method": "GET", "path": "/livez", "headers": []}
        await app(scope, _nothing, _unsent)

    async with app.running():
        with pytest.raises(LocalError, match="another event loop than the one that its lifespan runs on"):
            await elsewhere(request)


async def _nothing() -> dict[str, Any]:
    raise AssertionError


async def _unsent(message: dict[str, Any]) -> None:
    raise AssertionError(message)
