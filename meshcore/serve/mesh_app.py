"""`MeshApp`: the ASGI application that serves a mesh, with its start and its graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshcore.asgi.application import MeshAsgi, Probes
from meshcore.asgi.messages import Application, Receive, Scope, Send, with_header
from meshcore.client.bridge import Bridge
from meshcore.contract.contract import encode_contract
from meshcore.core.context.call_scope import failure_of
from meshcore.core.errors import Code, ConfigurationError, LocalError
from meshcore.core.settings import Settings
from meshcore.mesh.frameworks import mesh_in_state
from meshcore.mesh.mesh import Mesh
from meshcore.serve.advertised_url import with_reachable_url
from meshcore.serve.announcement import Announcement, server_identity
from meshcore.serve.hypercorn_worker import keep_alive
from meshcore.serve.live_page.page import LivePage, ServerControl
from meshcore.serve.logs import identify_lines
from meshcore.serve.monitoring.monitor import Monitor
from meshcore.serve.report import live_report, warnings_of
from meshcore.serve.shutdown_signals import delay_shutdown
from meshcore.serve.tls.serving import admitting, is_strict, served_tls
from meshcore.serve.unix_socket import announced_unix_socket
from meshcore.server.guarded_tasks import tasks_guarded
from meshcore.server.loop_lag import lag_reported
from meshcore.server.server import Server
from meshcore.wire.keep_alive import KEEP_ALIVE, USUAL_KEEP_ALIVE, write_keep_alive

if TYPE_CHECKING:
    from meshcore.security.tls.server_tls import ServerTLS

log = logging.getLogger(__name__)

_PROPAGATION = 0.3
"""Seconds until all clients know of a withdrawal. Registries need 0.2 s."""
_QUIET = 0.25
"""Seconds without a call after which no client is left. Until then calls are refused and connections stay open: a call
that is on its way when its connection closes is lost. Clients with fixed addresses (`static:`) get no withdrawal. Their
calls are refused until they eject the instance, for longer than this."""
_MAX_UNTIL_QUIET = 5.0
"""Seconds. The longest wait for clients to leave."""
_CLOSING = 3.0
"""Seconds, after the last call, to finish reading requests and sending responses. Then connections are closed."""
_CLOSING_NOW = 0.2
"""The same, when the shutdown must be immediate."""


class MeshApp:
    """An ASGI application that serves what a module implements.

    Run it by itself (`hypercorn`); then it handles the lifespan. Or mount it in an application of your own and pass its
    `lifespan` to that, since servers send mounted applications no lifespan events:

        mesh_app = MeshApp(OrdersModule)
        app = FastAPI(lifespan=mesh_app.lifespan)
        app.mount("/mesh", mesh_app)

    The setting `advertise_url` must then include the prefix.

    Args:
        module: a class decorated with `@module`.
        settings: as for `Mesh`.
        overrides: as for `Mesh`.

    Attributes:
        siblings: the folder in which the workers of one server find each other, None if there is only this process.
        tls: of the mesh when it has started; None without an identity.
        control: kills and starts servers from the live page; None but in the demonstration.
    """

    def __init__(
        self, module: type, *, settings: Settings | None = None, overrides: Mapping[type, object] | None = None
    ) -> None:
        self._make_mesh = partial(Mesh, module, settings=settings, overrides=overrides)
        self._endpoint: Callable[[Scope], Application] | None = None
        self._server: Server | None = None
        self._announcement: Announcement | None = None
        self._hurried = asyncio.Event()
        self._stopping = asyncio.Lock()
        self._requests: set[asyncio.Task[Any]] = set()
        self._bridge: Bridge | None = None
        self._keep_alive: tuple[bytes, bytes] | None = None  # told to clients if it is shorter than usual
        self.siblings: Path | None = None
        self.tls: ServerTLS | None = None
        self.control: ServerControl | None = None
        self.mesh: Mesh = self._make_mesh()
        self.settings = Settings()  # those of the mesh, with the URL that is advertised, when it has started

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncGenerator[dict[str, Mesh]]:
        """Start the mesh, announce it as soon as it is reachable, and shut it down gracefully at the end.

        It yields the lifespan's state, in which mounted applications find the mesh.

        SIGINT and SIGTERM reach the server only after the shutdown of the mesh, since the server closes connections.

        Args:
            app: the application. If it has a `state`, as Starlette's have, its requests find the mesh with `mesh_of`
                and `provide`.

        Raises:
            ConfigurationError: with every problem that was found.
        """
        with delay_shutdown(self.stop, self.hurry):
            async with self.running():
                for text in warnings_of(self.mesh.runtime, self.settings):
                    log.warning(text)
                with mesh_in_state(app, self.mesh) as state:
                    yield state

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """The lifespan without handling of signals, for callers that call `stop` before they end the server.

        Raises:
            ConfigurationError: with every problem that was found.
        """
        if (seconds := keep_alive()) is not None and seconds < USUAL_KEEP_ALIVE:
            self._keep_alive = KEEP_ALIVE.encode(), write_keep_alive(seconds).encode()
        # New ones for each start: an application may be started again.
        self.mesh = self._make_mesh()
        self._hurried = asyncio.Event()
        self._stopping = asyncio.Lock()
        self._bridge = Bridge(asyncio.get_running_loop())
        async with AsyncExitStack() as stack:
            stack.enter_context(tasks_guarded())
            runtime = (await stack.enter_async_context(self.mesh)).runtime
            if reason := runtime.catalog.why_nothing_is_served():
                log.warning("%s serves nothing: %s", runtime.blueprint.module.__qualname__, reason)
            settings = self.settings = await with_reachable_url(runtime.settings, runtime.registry)
            identify_lines((hosted.component.name for hosted in runtime.catalog.hosted), runtime.identity)
            server = self._server = runtime.server()
            instances = runtime.hosting.instances(settings.advertise_url, announced_unix_socket(settings))
            tls = self.tls = stack.enter_context(served_tls(runtime.certificates, settings))
            monitor = await stack.enter_async_context(Monitor(runtime, server, settings, self._ready, self.siblings))
            page = None
            if settings.page != "off":
                page = await stack.enter_async_context(LivePage(runtime, settings, self.control))
            probes = Probes(
                identity={"instance": runtime.identity, "server": server_identity()},
                ready=self._ready,
                health=runtime.hosting.health,
                report=self.report,
                contract=encode_contract(runtime.hosting.contract),
                metrics=monitor.metrics,
                summary=monitor.summaries,
                tap=monitor.tap,
                page=page,
                operators=runtime.operators(),
                strict=is_strict(settings, tls),
            )
            self._endpoint = admitting(MeshAsgi(server, runtime.catalog.hosted, probes, settings), settings, tls)
            self._announcement = Announcement(runtime.registry, instances, settings, runtime.tls)
            async with self._announcement:
                try:
                    with lag_reported(monitor.tick):
                        yield
                finally:
                    await self.stop()
                    self._endpoint = self._bridge = None

    async def stop(self) -> None:
        """Shut down gracefully: withdraw, refuse new calls, and wait for running calls, within the setting `drain`.

        It may be called twice: the second call waits for the first. It may be awaited on any event loop.
        """
        if self._bridge is not None:
            await self._bridge.relay("stop()", self._stop)

    async def _stop(self) -> None:
        async with self._stopping:
            server, announcement = self._server, self._announcement
            if server is None or announcement is None or server.draining:
                return
            begun = time.monotonic()
            log.info("stopping: it withdraws from the registry, and %d calls are in progress", server.active)
            if await announcement.withdraw(self._hurried):
                # Calls are still served until all clients know of the withdrawal.
                await self._pause(_PROPAGATION)
            seconds = self.mesh.runtime.settings.drain
            left = await server.drain(seconds, self._hurried)
            if left:
                when = "before the second signal" if self._hurried.is_set() else f"within {seconds:g} s"
                log.warning("stopped %d calls that did not end %s", left, when)
            await self._until_quiet(server)
            await self._close()
            log.info(
                "drained in %.1f s: %s",
                time.monotonic() - begun,
                f"{left} calls stopped" if left else "all calls ended",
            )

    def hurry(self) -> None:
        """Make `stop` end at once: running calls are cancelled."""
        if self._bridge is None or self._bridge.is_here:
            self._hurried.set()
        else:
            with suppress(RuntimeError):  # the loop is closed
                self._bridge.loop.call_soon_threadsafe(self._hurried.set)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but return at once when `hurry` is called."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()

    async def _until_quiet(self, server: Server) -> None:
        """Refuse calls until no more arrive."""
        latest = time.monotonic() + _MAX_UNTIL_QUIET
        while not self._hurried.is_set():
            seconds = min(latest, server.refused_at + _QUIET) - time.monotonic()
            if seconds <= 0:
                return
            await self._pause(seconds)

    async def _close(self) -> None:
        """Wait for requests in progress, then cancel them. From Python 3.12 on, hypercorn would wait for ever."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while self._requests and loop.time() - begun < (_CLOSING_NOW if self._hurried.is_set() else _CLOSING):
            await asyncio.wait(self._requests, timeout=_CLOSING_NOW)
        for request in self._requests:
            request.cancel()

    def _ready(self) -> bool:
        return self._announcement is not None and self._announcement.holds

    async def report(self) -> dict[str, Any]:
        """What this process serves, and its state."""
        active = self._server.active if self._server is not None else 0
        url = self.settings.advertise_url
        report = partial(live_report, self.mesh.runtime, url, ready=self._ready(), active=active)
        return await (report() if self._bridge is None else self._bridge.relay("report()", report))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI callable."""
        if scope["type"] == "lifespan":
            await serve_lifespan(self.lifespan, receive, send)
            return
        endpoint, bridge, loop = self._endpoint, self._bridge, asyncio.get_running_loop()
        if endpoint is None or bridge is None:
            raise LocalError(
                Code.FAILED_PRECONDITION,
                "the mesh is not running: pass its lifespan to your application, FastAPI(lifespan=mesh_app.lifespan)",
            )
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("an ASGI server runs an application in a task")
        if loop is not bridge.loop:
            raise LocalError(
                Code.FAILED_PRECONDITION,
                "a request arrived on another event loop than the one that its lifespan runs on: let one server run "
                "both, as in `with TestClient(app) as client`",
            )
        self._requests.add(task)
        if self._keep_alive and scope.get("http_version") != "2":  # where the header is forbidden
            send = with_header(send, *self._keep_alive)
        try:
            await endpoint(scope)(scope, receive, send)
        except BaseException as error:
            if isinstance(error, Exception) or (failure := failure_of(error)) is None:
                raise
            raise failure from failure.__cause__
        finally:
            self._requests.discard(task)


async def serve_lifespan(lifespan: Any, receive: Receive, send: Send) -> None:
    """Handle the lifespan events of an ASGI server with a context manager."""
    await receive()
    started, failure = False, ""
    try:
        async with lifespan():
            started = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except ConfigurationError as error:
        log.error("cannot start: %s", error.message)  # noqa: TRY400 - a traceback would add nothing
        failure = error.message
    except BaseException as error:
        if failure_of(error) is None:
            raise
        log.exception("the mesh failed to %s", "stop" if started else "start")
        failure = f"{type(error).__name__}: {error}"
    phase = "shutdown" if started else "startup"
    if failure:
        await send({"type": f"lifespan.{phase}.failed", "message": failure})
    else:
        await send({"type": "lifespan.shutdown.complete"})
