"""Makes calls by the contract of their method, for people who try them out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

import msgspec

from meshcore.asgi.page.routes import TriedCall
from meshcore.client.overview.trial import command_line, read_arguments
from meshcore.codec.codec import JSON
from meshcore.contract.contract import MethodContract, ServiceContract
from meshcore.contract.stub import stub_of
from meshcore.core.attempt import Attempt
from meshcore.core.call import Call, Handler, Interceptors
from meshcore.core.errors import Code, LocalError, MeshError
from meshcore.core.settings import Settings
from meshcore.declare.injection import create, module
from meshcore.mesh.mesh import Mesh
from meshcore.ports.registry import ComponentRegistry

_KEPT = 30.0
"""Seconds for which the client of a tried call is kept: to make one takes longer than most calls."""

_MOST_KEPT = 4
"""Clients that are kept at the same time."""

_MOST_ITEMS = 20
"""Items of a stream that a tried call waits for."""


class Tried(msgspec.Struct, frozen=True):
    """The outcome of a call that somebody tried.

    Attributes:
        result: as plain data; None if it failed.
        error: code and message; None if it succeeded.
        attempts: that it took.
        seconds: that it took.
        line: the same call for a terminal.
    """

    result: msgspec.Raw | None
    error: Mapping[str, str] | None
    attempts: Sequence[Attempt]
    seconds: float
    line: str


class _Client:
    """A mesh that calls one method. The types of its stub are of one contract, which may be another one tomorrow.

    Args:
        component: that offers the method.
        service: from the contract of the component.
        method: of the service.

    Attributes:
        made_of: the above, to find it again.
        used: when it was used last.
    """

    def __init__(self, component: str, service: ServiceContract, method: MethodContract) -> None:
        self.made_of = component, service, method
        self.used = 0.0
        self._trail: list[Attempt] = []
        self._started: asyncio.Future[Mesh] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._interface, self._component = stub_of(component, service, method)
        self._life: asyncio.Task[None] | None = None

    async def start(self, registry: ComponentRegistry, settings: Settings) -> None:
        """Start the mesh. It lives in a task of its own: it is begun by one request, and ended by another."""

        async def watch(handler: Handler, call: Call) -> Any:
            try:
                return await handler(call)
            finally:
                self._trail.extend(call.trail)

        def interceptors(_self: object) -> Interceptors:
            return Interceptors(client=[watch])

        client = module(components=[self._component])(type("LivePage", (), {"interceptors": create()(interceptors)}))

        async def live() -> None:
            async with Mesh(client, settings=settings, overrides={ComponentRegistry: registry}) as mesh:
                self._started.set_result(mesh)
                await self._closing.wait()

        self._life = asyncio.create_task(live(), name="meshcore.trial")
        waited: list[asyncio.Future[Any]] = [self._life, self._started]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._life.cancel()
            raise
        if self._life.done():
            self._life.result()

    async def close(self) -> None:
        """End the mesh."""
        self._closing.set()
        if self._life is not None:
            await asyncio.wait([self._life])

    async def call(self, tried: TriedCall) -> Tried:
        """The outcome of a call, also if it failed.

        Raises:
            LocalError: the arguments are not those of the method.
        """
        _, service, method = self.made_of
        mesh = self._started.result()
        described = mesh.runtime.catalog.service(self._interface).method(method.name)
        if described is None:
            raise RuntimeError("a stub has its method")
        arguments = read_arguments(described, tried.arguments)
        await mesh.wait_for(self._interface)
        self._trail.clear()
        result: msgspec.Raw | None = None
        failed: dict[str, str] | None = None
        begun = time.monotonic()
        try:
            found: Any = getattr(await mesh.get_service(self._interface), method.name)(**arguments)
            result = msgspec.Raw(JSON.encoder(Any)(await (_first(found) if described.yields else found)))
        except MeshError as error:
            failed = {"code": error.code.value, "message": error.message}
        seconds = time.monotonic() - begun
        line = command_line(service.name, method.name, tried.arguments)
        return Tried(result, failed, tuple(self._trail), seconds, line)


class Trials:
    """Makes the calls that people try. It is an async context manager, and keeps the last clients for some time.

    Args:
        registry: where instances are found.
        settings: of the clients.
    """

    def __init__(self, registry: ComponentRegistry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._idle: list[_Client] = []  # those that nobody uses now, the one used last at the end
        self._timer: asyncio.TimerHandle | None = None
        self._most = _MOST_KEPT
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._most = 0  # also for those that are in use now
        self._end(len(self._idle))
        if self._ending:
            await asyncio.wait(self._ending)

    async def call(self, tried: TriedCall, service: ServiceContract, method: MethodContract) -> bytes:
        """The outcome of a call as JSON, also if it failed.

        Args:
            tried: what is called.
            service: from the contract of its component.
            method: of the service.

        Raises:
            LocalError: it cannot be made.
        """
        made_of = tried.component, service, method
        client = next((each for each in self._idle if each.made_of == made_of), None)
        if client is not None:
            self._idle.remove(client)  # nobody else may use it: its attempts are those of one call
        else:
            try:
                client = _Client(*made_of)
            except ValueError as error:
                raise LocalError(Code.UNIMPLEMENTED, f"{tried.method} cannot be tried: {error}") from None
            await client.start(self._registry, self._settings)
        try:
            return msgspec.json.encode(await client.call(tried))
        finally:
            client.used = time.monotonic()
            self._idle.append(client)
            self._end(len(self._idle) - self._most)
            self._plan()

    def _plan(self) -> None:
        """End those that were not used for a while, when that time has come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._idle:
            wait = max(self._idle[0].used + _KEPT - time.monotonic(), 0.0)
            self._timer = asyncio.get_running_loop().call_later(wait, self._sweep)

    def _sweep(self) -> None:
        self._end(sum(time.monotonic() - each.used >= _KEPT for each in self._idle))
        self._timer = None
        self._plan()

    def _end(self, count: int) -> None:
        """End those that were not used for longest."""
        for client in self._idle[: max(count, 0)]:
            self._idle.remove(client)
            task = asyncio.create_task(client.close(), name="meshcore.trial.close")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


async def _first(stream: AsyncGenerator[Any]) -> list[Any]:
    """The first items of a stream."""
    found: list[Any] = []
    async with aclosing(stream) as items:
        async for item in items:
            found.append(item)
            if len(found) >= _MOST_ITEMS:
                break
    return found
