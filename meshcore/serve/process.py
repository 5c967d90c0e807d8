"""Serves a socket with hypercorn in this process, until the graceful shutdown is complete."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType] - its WSGI half
from hypercorn.config import Config

from meshcore.asgi.messages import Receive, Scope, Send
from meshcore.core.settings import Settings
from meshcore.serve.address import BACKLOG
from meshcore.serve.mesh_app import MeshApp
from meshcore.serve.module_loader import load_served_module
from meshcore.serve.report import startup_report
from meshcore.serve.upgrades import ignore_upgrades

if TYPE_CHECKING:
    from meshcore.security.tls.server_tls import ServerTLS

_CLOSING = 3.0
"""Seconds for connections to close after the last call. Then uploads in progress are cut off."""

_THREADS = 2.0
"""Seconds for threads to end, after everything else has ended."""

_UNLIMITED = 2**31 - 1

_IMMEDIATE = 2
"""The number of signals that end a server immediately."""


def run_to_the_end(serving: Coroutine[Any, Any, int]) -> int:
    """Run the coroutine as the last action of this process. Returns the exit status.

    Threads cannot be stopped, and the interpreter waits for them for ever. So the process is ended soon after, even if
    a thread still hangs in a call that was given up.
    """
    with asyncio.Runner() as runner:
        try:
            status = runner.run(serving)
        except asyncio.CancelledError:
            status = 1  # the immediate end was interrupted, too
        timer = threading.Timer(_THREADS, os._exit, (status or 1,))
        timer.daemon = True
        timer.start()
    return status


async def serve_sockets(
    settings: Settings,
    sockets: Sequence[socket.socket],
    ready: Callable[[dict[str, Any]], None],
    siblings: Path | None = None,
) -> int:
    """Serve in this process until a signal arrives. Returns the exit status, 1 after an immediate end.

    Args:
        settings: the settings. They name the module to serve.
        sockets: the sockets.
        ready: gets the start-up report.
        siblings: see `MeshApp`.

    Raises:
        asyncio.CancelledError: a second signal arrived during the start, or a third one during the immediate end.
    """
    stop, closing = asyncio.Event(), asyncio.Event()
    main = asyncio.current_task()
    app = MeshApp(load_served_module(settings), settings=settings)
    app.siblings = siblings
    signals = 0
    started = False

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        stop.set()
        if main is not None and (not started or signals > _IMMEDIATE):
            main.cancel()
        elif signals == _IMMEDIATE:
            app.hurry()

    loop = asyncio.get_running_loop()
    parent = multiprocessing.parent_process()
    if parent is None:
        loop.add_signal_handler(signal.SIGINT, on_signal)
    else:  # a worker: Ctrl-C reaches all processes of the terminal, but the parent decides
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sentinel = parent.sentinel

        def on_orphaned() -> None:  # without its parent, nothing would end this process
            loop.remove_reader(sentinel)
            stop.set()
            if main is not None and not started:
                main.cancel()

        loop.add_reader(sentinel, on_orphaned)
    loop.add_signal_handler(signal.SIGTERM, on_signal)

    try:
        async with app.running():
            started = True
            gc.freeze()  # what is loaded stays until the process ends
            ignore_upgrades()
            copies = [os.dup(sock.fileno()) for sock in sockets]  # which hypercorn closes
            serving = asyncio.create_task(
                serve(_without_lifespan(app), _config(copies, app), shutdown_trigger=closing.wait)
            )
            try:
                ready(startup_report(app.mesh.runtime, app.settings))
                await _either(serving, stop.wait())
                # Withdraw, refuse new calls, wait for running ones. Connections are closed only after that.
                await _either(serving, app.stop())
                closing.set()
                await asyncio.wait([serving], timeout=_CLOSING)
            finally:
                await _end(serving)
    except asyncio.CancelledError:
        if started or signals > 1 or not stop.is_set():
            raise
        return 0  # the signal arrived before the mesh had started
    if not serving.cancelled():
        serving.result()
    return 1 if signals >= _IMMEDIATE else 0


async def _either(serving: asyncio.Task[None], other: Coroutine[Any, Any, object]) -> None:
    """Return when one of both has ended. Cancel the coroutine if it has not."""
    task = asyncio.create_task(other)
    try:
        await asyncio.wait([serving, task], return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _end(serving: asyncio.Task[None]) -> None:
    # Repeatedly: after a cancellation hypercorn waits for its connections, from Python 3.12 on for ever.
    while not serving.done():
        serving.cancel()
        await asyncio.wait([serving], timeout=0.1)


def _config(descriptors: Sequence[int], app: MeshApp) -> Config:
    config = Config()
    config.bind = [f"fd://{descriptor}" for descriptor in descriptors]
    if app.tls is not None:
        _serve_tls(config, app.tls)
    config.backlog = BACKLOG
    config.errorlog = logging.getLogger("hypercorn.error")  # so that it has our format
    config.errorlog.setLevel(logging.WARNING)  # without hypercorn's "Running on"; our report has the address
    config.include_date_header = False  # these headers are not used, and cost 16 us per response
    config.include_server_header = False
    config.keep_alive_max_requests = _UNLIMITED  # closing a connection in use may lose a call
    return config


def _serve_tls(config: Config, tls: ServerTLS) -> None:
    """Serve the port over the TLS of the mesh, and the unix socket, which clients of this machine reach, without."""
    from meshcore.security.tls.server_tls import HANDSHAKE_TIMEOUT, server_context  # noqa: PLC0415 - only with an identity

    config.insecure_bind = config.bind[1:]
    config.bind = config.bind[:1]
    config.certfile = config.keyfile = "the identity of the mesh"  # not read, but hypercorn wants them to be named
    config.create_ssl_context = lambda: server_context(lambda: tls)  # type: ignore[method-assign]
    config.ssl_handshake_timeout = HANDSHAKE_TIMEOUT


def _without_lifespan(app: MeshApp) -> Any:
    """The application without its lifespan: that must last longer than hypercorn's."""

    async def serve_request(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for done in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{done}.complete"})

    return serve_request
