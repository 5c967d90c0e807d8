"""A mesh for code without an event loop: its loop runs in a thread of its own."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from inspect import isawaitable
from threading import Thread, current_thread
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import anyio
from anyio.from_thread import BlockingPortal

from meshcore.client.bridge import discard
from meshcore.core.context.threads import caught, forked_error
from meshcore.core.errors import Code, LocalError
from meshcore.core.settings import Settings
from meshcore.mesh.mesh import Mesh
from meshcore.telemetry.snapshot import Snapshot

T = TypeVar("T")


class BlockingMesh:
    """A `Mesh` for synchronous programs. Proxies of `def` interfaces block the thread that calls them.

        with BlockingMesh(GreetingModule) as mesh:
            greeting = mesh.get_service(Greeting)

    Any thread may call. Proxies of `async def` interfaces return coroutines: `mesh.run(greeting.hello("world"))` gives
    the result, and `blocking(greeting.hello)` is the same method for synchronous callers. Each call goes to the thread
    of the loop and back, which costs 0.1 to 0.15 ms.

    A forked process has no such thread. So make a mesh after the fork; calls of one that was entered before it fail.

    Args:
        module: a class decorated with `@module`.
        settings: as for `Mesh`.
        overrides: as for `Mesh`.
        use_uvloop: whether to use the event loop of uvloop, which must be installed.
    """

    def __init__(
        self,
        module: type,
        *,
        settings: Settings | None = None,
        overrides: Mapping[type, object] | None = None,
        use_uvloop: bool = False,
    ) -> None:
        self._mesh = Mesh(module, settings=settings, overrides=overrides)
        self._use_uvloop = use_uvloop
        self._thread: Thread | None = None
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        """Start the thread of the loop, and the mesh in it.

        Raises:
            ConfigurationError: with everything that cannot work.
        """
        started: Future[BlockingPortal] = Future()
        # Not anyio's `start_blocking_portal`: its generator, when it is deleted in a forked process, waits for ever.
        self._thread = Thread(target=self._run, args=(started,), name="meshcore-blocking", daemon=True)
        self._thread.start()
        self._portal = started.result()
        try:
            self._call(self._mesh.start)
        except BaseException:
            self._stop(cancel=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the mesh and the thread. Does nothing in a forked process: both are in its parent."""
        if self._portal is None or self._mesh.pid != os.getpid():
            return
        try:
            self._call(self._mesh.stop)
        finally:
            self._stop(cancel=error is not None)

    def _run(self, started: Future[BlockingPortal]) -> None:
        """The thread."""

        async def run() -> None:
            async with BlockingPortal() as portal:
                started.set_result(portal)
                await portal.sleep_until_stopped()

        try:
            anyio.run(run, backend_options={"use_uvloop": self._use_uvloop})
        except BaseException as error:  # noqa: BLE001 - such as of uvloop, which may not be installed
            if not started.done():
                started.set_exception(error)

    def _stop(self, *, cancel: bool) -> None:
        portal, self._portal = self._portal, None
        if portal is not None and self._thread is not None:
            with suppress(RuntimeError):  # it has stopped
                portal.call(portal.stop, cancel)
            self._thread.join()

    def get_service(self, interface: Callable[..., T], preferred_channel: str = "") -> T:
        """A service; see `Mesh.get_service`."""
        return cast("T", self._call(self._mesh.get_service, interface, preferred_channel))

    def wait_for(self, interface: Callable[..., object], timeout: float | None = None) -> None:
        """Wait until an instance offers the service; see `Mesh.wait_for`."""
        self._call(self._mesh.wait_for, interface, timeout)

    def run(self, awaitable: Awaitable[T]) -> T:
        """Await something on the loop of the mesh, and block this thread until it ends: `mesh.run(greeting.hello())`.

        Ctrl-C in this thread cancels it, as does the end of the mesh.

        Args:
            awaitable: such as a call of an `async def` interface, or a coroutine of yours that makes several.

        Raises:
            LocalError: this thread runs an event loop, which must not be blocked, or the mesh does not run, or this is
                a function that was not called.
        """
        given = cast("object", awaitable)
        if callable(given) and not isawaitable(given):
            text = f"run() awaits a call, such as greeting.hello(), and got {type(given).__name__}: call it"
            raise LocalError(Code.INVALID_ARGUMENT, text)
        try:
            self._entered()
            return self._mesh.runtime.bridge.run("run()", awaitable)
        finally:
            discard(awaitable)

    def metrics(self) -> Snapshot:
        """What this mesh has counted of its calls until now; see `Mesh.metrics`."""
        self._entered()
        return self._mesh.metrics()

    def set_preferred_channel(self, name: str) -> None:
        """Prefer a channel; see `Mesh.set_preferred_channel`."""
        self._call(self._mesh.set_preferred_channel, name)

    @staticmethod
    def detached() -> AbstractContextManager[None]:
        """Work that outlives its caller; see `Mesh.detached`."""
        return Mesh.detached()

    def get(self, kind: Callable[..., T]) -> T:
        """An object of the injector."""
        return cast("T", self._call(self._mesh.get, kind))

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        portal = self._entered()
        if current_thread() is self._thread:
            text = "this mesh was used on its own event loop, which it would block: use it in another thread"
            raise LocalError(Code.FAILED_PRECONDITION, text)
        result, error = portal.call(caught, function, *arguments)
        if error is not None:
            raise error
        return result

    def _entered(self) -> BlockingPortal:
        if self._portal is None:
            raise LocalError(
                Code.FAILED_PRECONDITION, "this mesh is not running; use it inside `with BlockingMesh(...)`"
            )
        if self._mesh.pid not in {0, os.getpid()}:
            raise forked_error("this mesh was used", self._mesh.pid, "it")
        return self._portal
