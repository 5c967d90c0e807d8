"""A mesh that serves: the ASGI application together with its lifetime and its orderly end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from meshcore.asgi.application import MeshAsgi, Probes
from meshcore.asgi.messages import Receive, Scope, Send
from meshcore.contract.contract import encode_contract
from meshcore.core.errors import Code, ConfigurationError, LocalError
from meshcore.core.settings import Settings, load_settings
from meshcore.mesh.adopt import offered
from meshcore.mesh.mesh import Mesh
from meshcore.serve.announcement import Announcement, server_identity
from meshcore.serve.stop_gate import held
from meshcore.server.lag import lag_reported
from meshcore.server.server import Server

log = logging.getLogger(__name__)

_PROPAGATION = 0.3
"""Seconds until clients have heard of a withdrawal, for which the registries need 0.2 s."""
_QUIET = 0.25
"""Seconds without a call after which no client seems to be left. Until then calls are refused: one that is on its way
when its connection closes is lost. Clients with fixed addresses (`static:`) hear of no withdrawal; each learns of it by
being refused, and after some refusals leaves the instance alone for longer than this."""
_UNTIL_QUIET = 5.0
"""The longest wait for that."""
_CLOSING = 3.0
"""Seconds, after the last call, for requests that are still read or answered; then they are cut off."""
_CLOSING_NOW = 0.2
"""The same, when there is no time."""


class MeshApp:
    """An ASGI application that serves what a module implements.

    Run it by itself (`hypercorn`), when it handles the lifespan, or mount it in an application of your own and pass
    `lifespan` on, since servers tell mounted applications nothing:

        mesh_app = MeshApp(OrdersModule)
        app = FastAPI(lifespan=mesh_app.lifespan)
        app.mount("/mesh", mesh_app)

    The setting `advertise_url` must then include the prefix.

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
        self._overrides = overrides
        self._asgi: MeshAsgi | None = None
        self._server: Server | None = None
        self._announcement: Announcement | None = None
        self._hurried = asyncio.Event()
        self._stopping = asyncio.Lock()
        self._requests: set[asyncio.Task[Any]] = set()
        self.mesh: Mesh = Mesh(module, settings=settings, overrides=overrides)

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncGenerator[dict[str, Mesh]]:
        """Start the mesh, announce it as soon as it can be reached, and stop it in order.

        What it gives is the lifespan's state: applications that are mounted in this one find the mesh there.

        The server hears of SIGINT and SIGTERM when that has been done: what it does then may cost calls.

        Args:
            app: whose requests find the mesh by `mesh_of` and `provide`, if it has a `state` as Starlette's have.

        Raises:
            ConfigurationError: with everything that cannot work.
        """
        with held(self.stop, self.hurry):
            async with self.running():
                with offered(app, self.mesh) as state:
                    yield state

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """The lifespan for an owner that knows when it ends: it calls `stop` first, and then ends the server.

        Raises:
            ConfigurationError: with everything that cannot work.
        """
        settings = self._settings or load_settings()
        self.mesh = Mesh(self._module, settings=settings, overrides=self._overrides)
        # An application may be started again.
        self._hurried = asyncio.Event()
        self._stopping = asyncio.Lock()
        async with self.mesh as mesh:
            runtime = mesh.runtime
            server = self._server = runtime.server()
            instances = runtime.hosting.instances(settings.advertise_url)
            identity = {"instance": runtime.identity, "server": server_identity()}
            probes = Probes(
                identity=identity,
                ready=self._ready,
                health=runtime.hosting.health,
                report=self.report,
                contract=encode_contract(runtime.hosting.contract),
            )
            self._asgi = MeshAsgi(server, runtime.catalog.hosted, probes, settings)
            self._announcement = Announcement(runtime.registry, instances, settings)
            async with self._announcement:
                try:
                    with lag_reported(server.tick):
                        yield
                finally:
                    await self.stop()
                    self._asgi = None

    async def stop(self) -> None:
        """Withdraw, refuse new calls and let those that run end, within the setting `drain`.

        Safe to call twice: whoever is second waits for the first.
        """
        async with self._stopping:
            server, announcement = self._server, self._announcement
            if server is None or announcement is None or server.draining:
                return
            if await announcement.withdraw(self._hurried):
                # Until clients have heard of it they may send, and are served.
                await self._pause(_PROPAGATION)
            seconds = self.mesh.runtime.settings.drain
            left = await server.drain(seconds, self._hurried)
            if left:
                when = "at once, as asked" if self._hurried.is_set() else f"within {seconds:g} s"
                log.warning("stopped %d calls that did not end %s", left, when)
            await self._until_quiet(server)
            await self._close()

    def hurry(self) -> None:
        """Make `stop` end at once: calls that run are stopped."""
        self._hurried.set()

    async def _pause(self, seconds: float) -> None:
        """Return after so many seconds, or when there is a hurry."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()

    async def _until_quiet(self, server: Server) -> None:
        """Refuse calls until none come any more."""
        longest = time.monotonic() + _UNTIL_QUIET
        while not self._hurried.is_set():
            seconds = min(longest, server.refused_at + _QUIET) - time.monotonic()
            if seconds <= 0:
                return
            await self._pause(seconds)

    async def _close(self) -> None:
        """Let answers go that are on their way, and cut off who never ends its request.

        From Python 3.12 on hypercorn would wait for that without bound.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while self._requests and loop.time() - begun < (_CLOSING_NOW if self._hurried.is_set() else _CLOSING):
            await asyncio.wait(self._requests, timeout=_CLOSING_NOW)
        for request in self._requests:
            request.cancel()

    def _ready(self) -> bool:
        return self._announcement is not None and self._announcement.holds

    async def report(self) -> dict[str, Any]:
        """What this process serves, and in which state it is."""
        runtime = self.mesh.runtime
        server = self._server
        return {
            "instance": runtime.identity,
            "ready": self._ready(),
            "active": server.active if server is not None else 0,
            "registry": type(runtime.registry).__name__,
            "channels": sorted(runtime.blueprint.channels),
            "components": [
                {
                    "name": hosted.component.name,
                    "description": hosted.component.description,
                    "health": (await runtime.hosting.health(hosted)).to_plain(),
                    "services": [
                        {"name": service.name, "methods": [method.name for method in service.methods]}
                        for service in hosted.component.services
                    ],
                }
                for hosted in runtime.catalog.hosted
            ],
            "instances": msgspec.to_builtins(runtime.hosting.instances(runtime.settings.advertise_url)),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI callable."""
        if scope["type"] == "lifespan":
            await serve_lifespan(self.lifespan, receive, send)
            return
        if self._asgi is None:
            raise LocalError(
                Code.FAILED_PRECONDITION,
                "the mesh is not running: pass its lifespan to your application, FastAPI(lifespan=mesh_app.lifespan)",
            )
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an ASGI server runs an application in a task")
        self._requests.add(task)
        try:
            await self._asgi.endpoint(scope)(scope, receive, send)
        finally:
            self._requests.discard(task)


async def serve_lifespan(lifespan: Any, receive: Receive, send: Send) -> None:
    """Run a lifespan context for an ASGI server."""
    await receive()
    started, failure = False, ""
    try:
        async with lifespan():
            started = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except ConfigurationError as error:
        log.error("cannot start: %s", error.message)  # noqa: TRY400 - the text says it all
        failure = error.message
    except Exception as error:
        log.exception("the mesh failed to %s", "stop" if started else "start")
        failure = f"{type(error).__name__}: {error}"
    phase = "shutdown" if started else "startup"
    if failure:
        await send({"type": f"lifespan.{phase}.failed", "message": failure})
    else:
        await send({"type": "lifespan.shutdown.complete"})
