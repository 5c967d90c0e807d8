"""The runtime: builds what its modules declare, runs it, and hands out services."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, TypeVar, cast

from meshcore.client.why import Explanation
from meshcore.core.call_scope import CallScope, Stopped, deadline_exceeded
from meshcore.core.errors import Code, LocalError
from meshcore.core.instances import Bound
from meshcore.core.settings import Settings, load_settings
from meshcore.core.threads import detached
from meshcore.mesh.runtime import Runtime, start_runtime

T = TypeVar("T")


class Mesh:
    """One runtime. Several may live in one process; they share nothing.

        async with Mesh(GreetingModule) as mesh:
            greeting = await mesh.get_service(Greeting)

    It calls services and runs the implementations that its modules contain, for itself; to serve them to others, see
    `meshcore.serve.mesh_app`. The context may be left by another task than the one that entered it.

    Args:
        module: a class decorated with `@module`.
        settings: default: those of the environment and of `meshcore.toml` or `pyproject.toml` in this directory.
        overrides: by type, objects or classes or functions that take the place of what the modules provide: for tests.
    """

    def __init__(
        self, module: type, *, settings: Settings | None = None, overrides: Mapping[type, object] | None = None
    ) -> None:
        self._module = module
        self._settings = settings
        self._overrides = dict(overrides or {})
        self._main: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._runtime: Runtime | None = None

    async def __aenter__(self) -> Self:
        """Check everything, build everything, start the components.

        Raises:
            ConfigurationError: with everything that cannot work; then nothing was started.
        """
        if self._main is not None:
            raise LocalError(Code.FAILED_PRECONDITION, "a Mesh can be entered once; make another one")
        ready: asyncio.Future[Runtime] = asyncio.get_running_loop().create_future()
        # A task of its own, which enters and leaves everything, so that whoever leaves the mesh need not be the task
        # that entered it: fixtures of test frameworks and notebooks are not.
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
        """Stop the components and clean up everything in reverse order."""
        self._stop.set()
        if self._main is not None:
            await self._main

    async def start(self) -> Self:
        """Enter the context where no `async with` fits, as in a notebook: `mesh = await Mesh(Client).start()`.

        Raises:
            ConfigurationError: with everything that cannot work; then nothing was started.
        """
        return await self.__aenter__()

    async def stop(self) -> None:
        """Leave the context that `start` entered."""
        await self.__aexit__(None, None, None)

    async def _run(self, ready: asyncio.Future[Runtime]) -> None:
        try:
            settings = self._settings or load_settings()
            async with start_runtime(self._module, settings, self._overrides) as runtime:
                ready.set_result(runtime)
                await self._stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            self._runtime = None

    async def get_service(self, interface: Callable[..., T], preferred_channel: str = "") -> T:
        """A service. Returns at once, also if nobody offers the service yet: the call finds out.

        Args:
            interface: a class decorated with `@service`.
            preferred_channel: the channel to use. Default: the implementation itself if it is in this process, else
                the mesh's preferred channel if it is offered, else the first that is.

        Raises:
            ConfigurationError: the interface cannot be called; the text says why.
            LocalError: no channel of that name.
        """
        # Callable, not type[T]: checkers refuse abstract classes and protocols as type[T].
        return cast("T", self.runtime.proxies.proxy(cast("type", interface), preferred_channel))

    async def wait_for(self, interface: Callable[..., object], timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Return when somebody offers the service.

        Args:
            interface: a class decorated with `@service`.
            timeout: in seconds; default: the setting `timeout`.

        Raises:
            CommunicationError: DEADLINE_EXCEEDED, nobody did in time; the text says what the registry said.
        """
        runtime = self.runtime
        cls = cast("type", interface)
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

    def why(self, interface: Callable[..., object], method: str, preferred_channel: str = "") -> Explanation:
        """Why a call made now would go where it goes: its numbers, who set them, and how the instances stand.

        Raises:
            LocalError: the interface has no such method, or there is no channel of that name.
            ConfigurationError: the interface cannot be called.
        """
        return self.runtime.why(cast("type", interface), method, preferred_channel)

    def set_preferred_channel(self, name: str) -> None:
        """Use this channel wherever it is offered and no other was asked for; empty: the first that is offered."""
        self.runtime.blueprint.check_channel(name)
        self.runtime.destinations.preferred = name

    @staticmethod
    def detached() -> AbstractContextManager[None]:
        """Work that outlives its caller: what is called and started inside belongs to no served call.

            with mesh.detached():
                self.tasks.add(asyncio.create_task(self.send_receipt(order)))

        It does not inherit the deadline of the call that this code serves, nor that this was an attempt after the
        first, nor, in a worker thread, that it must not call on when its caller leaves. Each call still has the
        setting `timeout`. Whoever starts a task keeps it, and ends it when the mesh stops.
        """
        return detached()

    async def get(self, kind: type[T]) -> T:
        """An object of the injector."""
        return await self.runtime.injector.get(kind)

    @property
    def runtime(self) -> Runtime:
        """What runs between entering and leaving.

        Raises:
            LocalError: the mesh is not running.
        """
        if self._runtime is None:
            state = "has stopped" if self._stop.is_set() else "is not running; use it inside `async with Mesh(...)`"
            raise LocalError(Code.FAILED_PRECONDITION, f"this mesh {state}")
        return self._runtime
