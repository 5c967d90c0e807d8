"""`Mesh`: starts the runtime of a module, hands out services, and stops."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast

from meshcore.client.bridge import LOOP_ENDED, Bridge
from meshcore.client.why import Explanation
from meshcore.core.context.call_scope import CallScope, Stopped, deadline_exceeded
from meshcore.core.context.threads import detached, forked_error
from meshcore.core.errors import Code, LocalError
from meshcore.core.instances import Bound
from meshcore.core.settings import Settings
from meshcore.mesh.arguments import check_settings, copy_of_overrides
from meshcore.mesh.runtime import Runtime, start_runtime
from meshcore.mesh.settings_loader import load_settings
from meshcore.server.guarded_tasks import guard_tasks
from meshcore.telemetry.snapshot import Snapshot, snapshot
from meshcore.telemetry.tap.seen_call import SeenCall

T = TypeVar("T")


class Mesh:
    """Calls services, and runs the implementations of its modules. Several meshes in one process share nothing.

        async with Mesh(GreetingModule) as mesh:
            greeting = await mesh.get_service(Greeting)

    A mesh runs implementations for its own calls. `MeshApp` serves them to other processes. Another task than the one
    that entered the context may leave it. The mesh lives on the event loop on which it was entered. What is awaited on
    another loop, in another thread, is handed over to that one: calls of proxies, and the methods of the mesh.

    Args:
        module: a class decorated with `@module`.
        settings: by default those of the environment and of `meshcore.toml` or `pyproject.toml` in this directory.
        overrides: for tests: by type, objects, classes or functions that replace what the modules provide.

    Attributes:
        pid: of the process that entered the context, 0 before. Another process, forked from it, cannot use the mesh.
    """

    def __init__(
        self, module: type, *, settings: Settings | None = None, overrides: Mapping[type, object] | None = None
    ) -> None:
        check_settings(settings)
        self._module = module
        self._settings = settings
        self._overrides = copy_of_overrides(overrides)
        self._main: asyncio.Task[None] | None = None
        self._bridge: Bridge | None = None  # the runtime's is closed while the mesh stops
        self._stop = asyncio.Event()
        self._runtime: Runtime | None = None
        self.pid = 0

    async def __aenter__(self) -> Self:
        """Check everything, make all objects, and start the components.

        Raises:
            ConfigurationError: with everything that cannot work; then nothing was started.
        """
        if self._main is not None:
            raise LocalError(Code.FAILED_PRECONDITION, "a Mesh can be entered once; make another one")
        self.pid = os.getpid()
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[Runtime] = loop.create_future()
        self._bridge = Bridge(loop)
        # A task of its own enters and leaves all contexts. So another task may leave the mesh than the one that entered
        # it, as with fixtures of test frameworks and in notebooks.
        self._main = asyncio.create_task(self._run(ready), name="meshcore.mesh")
        try:
            self._runtime = await asyncio.shield(ready)
        except BaseException:
            self._main.cancel()
            await asyncio.wait([self._main])
            if ready.done() and not ready.cancelled():
                ready.exception()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the components, and clean up everything in reverse order. Does nothing in a forked process.

        Raises:
            LocalError: the event loop of the mesh does not run any more, so that nothing on it can be stopped.
        """
        if self._main is None or self._bridge is None or self.pid != os.getpid():
            return
        if self._main.done() and not self._bridge.is_here:
            return  # the mesh has ended with its loop
        await self._bridge.relay("stop()", partial(self._end, self._main))

    async def _end(self, main: asyncio.Task[None]) -> None:
        self._stop.set()
        await main

    async def start(self) -> Self:
        """Enter the context without `async with`, as in a notebook: `mesh = await Mesh(Client).start()`.

        Raises:
            ConfigurationError: with everything that cannot work; then nothing was started.
        """
        return await self.__aenter__()

    async def stop(self) -> None:
        """Leave the context that `start` entered."""
        await self.__aexit__(None, None, None)

    async def _run(self, ready: asyncio.Future[Runtime]) -> None:
        guard_tasks()
        try:
            settings = self._settings or load_settings()
            async with start_runtime(self._module, settings, self._overrides) as runtime:
                ready.set_result(runtime)
                try:
                    await self._stop.wait()
                except asyncio.CancelledError:  # asyncio.run() ends, and cancels all tasks of its loop
                    runtime.bridge.ended = True
                    raise
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            self._runtime = None

    async def get_service(self, interface: Callable[..., T], preferred_channel: str = "") -> T:
        """The proxy of a service. Returns at once: whether an instance offers the service shows at the first call.

        Args:
            interface: a class decorated with `@service`.
            preferred_channel: the channel to use. By default the implementation itself if it is in this process, else
                the mesh's preferred channel if it is offered, else `stream-msgpack` if all instances offer it, else
                the first that is offered.

        Raises:
            ConfigurationError: the interface cannot be called; the text says why.
            LocalError: there is no channel of that name.
        """
        # Callable, not type[T]: type checkers reject abstract classes and protocols as type[T].
        runtime = self.runtime

        async def proxy() -> T:
            return cast("T", runtime.proxies.proxy(cast("type", interface), preferred_channel))

        return await runtime.bridge.relay("get_service()", proxy)

    async def wait_for(self, interface: Callable[..., object], timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait until an instance offers the service.

        Args:
            interface: a class decorated with `@service`.
            timeout: in seconds; by default the setting `timeout`.

        Raises:
            CommunicationError: DEADLINE_EXCEEDED, none did in time; the text says what the registry reported.
        """
        runtime = self.runtime
        await runtime.bridge.relay("wait_for()", partial(_wait_for, runtime, cast("type", interface), timeout))

    def why(self, interface: Callable[..., object], method: str, preferred_channel: str = "") -> Explanation:
        """Explain a call made now: the rules that govern it, who set them, and the state of the instances.

        Raises:
            LocalError: the interface has no such method, or there is no channel of that name.
            ConfigurationError: the interface cannot be called.
        """
        runtime = self.runtime
        return runtime.bridge.at_once("why()", partial(runtime.why, cast("type", interface), method, preferred_channel))

    def metrics(self) -> Snapshot:
        """What this mesh has counted of its calls until now. May be called in any thread.

        A server exposes it at `/metrics`. `meshcore.telemetry.collector.MeshCollector` is for processes with a registry
        of `prometheus_client`.

        Raises:
            LocalError: the mesh does not run.
        """
        runtime = self.runtime
        return runtime.bridge.at_once("metrics()", partial(snapshot, runtime.recorder))

    def last_calls(self) -> tuple[SeenCall, ...]:
        """The last calls that this mesh made to other processes and served to them; oldest first.

        Only those of methods whose policy says `remember`, as many of each: `@Policy(remember=100)`, or in the
        settings. May be called in any thread.

        Raises:
            LocalError: the mesh does not run.
        """
        runtime = self.runtime
        return runtime.bridge.at_once("last_calls()", runtime.recorder.watch.last)

    def set_preferred_channel(self, name: str) -> None:
        """Use a channel wherever it is offered and no other is asked for. Empty: as without a preference."""
        self.runtime.blueprint.check_channel(name)
        self.runtime.destinations.preferred = name

    @staticmethod
    def detached() -> AbstractContextManager[None]:
        """For work that outlives the served call: calls and tasks that start inside do not belong to it.

            with mesh.detached():
                self.tasks.add(asyncio.create_task(self.send_receipt(order)))

        They do not inherit the deadline of the served call, nor that it is a retry. In a worker thread they go on when
        the caller has left. Each call still has the setting `timeout`. Keep a reference to a task that you start, and
        end it when the mesh stops.
        """
        return detached()

    async def get(self, kind: Callable[..., T]) -> T:
        """The object of a type, which may be abstract, from the injector.

        Args:
            kind: a class, or an alias such as `Repository[Order]`.
        """
        runtime = self.runtime
        return await runtime.bridge.relay("get()", partial(runtime.injector.get, kind))

    @property
    def runtime(self) -> Runtime:
        """The parts of the running mesh.

        Raises:
            LocalError: the mesh is not running, or only in the process that this one was forked from.
        """
        if self._runtime is None:
            state = "is not running; use it inside `async with Mesh(...)`"
            if self._main is not None and self._main.done():
                state = "has stopped" if self._stop.is_set() else f"has stopped: {LOOP_ENDED}"
            raise LocalError(Code.FAILED_PRECONDITION, f"this mesh {state}")
        if self.pid != os.getpid():
            raise forked_error("this mesh was used", self.pid, "it")
        return self._runtime


async def _wait_for(runtime: Runtime, cls: type, timeout: float | None) -> None:  # noqa: ASYNC109
    if runtime.blueprint.is_local(cls):
        return
    destination = runtime.destinations.to(runtime.catalog.component_of(cls))
    seconds = runtime.settings.timeout if timeout is None else timeout
    try:
        with CallScope(asyncio.get_running_loop().time() + seconds):
            while not isinstance(destination.sighting, Bound):
                await destination.wait()
    except Stopped:
        error = deadline_exceeded(f"wait_for({cls.__qualname__})", seconds)
        error.message += f": {destination.unavailable_error('').message}"
        raise error from None
