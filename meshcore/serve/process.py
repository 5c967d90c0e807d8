"""One process that serves a socket with hypercorn, from the start to the end of the drain."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType] - its WSGI half
from hypercorn.config import Config

from meshcore.asgi.messages import Receive, Scope, Send
from meshcore.core.settings import Settings
from meshcore.serve.address import BACKLOG
from meshcore.serve.load import load_module
from meshcore.serve.mesh_app import MeshApp
from meshcore.serve.report import startup_report

_CLOSING = 3.0
"""Seconds for connections to close after the last call; whoever still uploads then is cut off."""

_THREADS = 2.0
"""Seconds for threads to end, after everything else has."""

_ENOUGH = 2**31 - 1

_AT_ONCE = 2
"""How often a server is told to end until it does so at once."""


def run_to_the_end(serving: Coroutine[Any, Any, int]) -> int:
    """Run it as the last thing that this process does; the exit status.

    A thread cannot be stopped, and the interpreter waits for all of them without bound. When everything is cleaned up,
    one that hangs in a call that was given up long ago must not hold the process.
    """
    with asyncio.Runner() as runner:
        try:
            status = runner.run(serving)
        except asyncio.CancelledError:
            status = 1  # not even the end at once came to its end
        timer = threading.Timer(_THREADS, os._exit, (status or 1,))
        timer.daemon = True
        timer.start()
    return status


async def serve_socket(settings: Settings, sock: socket.socket, ready: Callable[[dict[str, Any]], None]) -> int:
    """Serve in this process until it is told to end; the exit status, 1 if there was no time for its calls.

    Raises:
        asyncio.CancelledError: it was told twice while it started; or a third time, since not even the end at once
            came to its end.
    """
    stop = asyncio.Event()
    main = asyncio.current_task()
    app = MeshApp(load_module(settings), settings=settings)
    told = 0
    started = False

    def on_signal() -> None:
        nonlocal told
        told += 1
        stop.set()
        if main is not None and (not started or told > _AT_ONCE):
            main.cancel()
        elif told == _AT_ONCE:
            app.hurry()

    loop = asyncio.get_running_loop()
    parent = multiprocessing.parent_process()
    if parent is None:
        loop.add_signal_handler(signal.SIGINT, on_signal)
    else:  # a worker: Ctrl-C reaches all processes of the terminal, but it is the parent who decides
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sentinel = parent.sentinel

        def on_orphaned() -> None:  # nobody is left who could end this process
            loop.remove_reader(sentinel)
            stop.set()
            if main is not None and not started:
                main.cancel()

        loop.add_reader(sentinel, on_orphaned)
    loop.add_signal_handler(signal.SIGTERM, on_signal)

    closing = asyncio.Event()
    try:
        async with app.running():
            started = True
            config = _config(os.dup(sock.fileno()))  # a copy, which hypercorn closes
            serving = asyncio.create_task(serve(_without_lifespan(app), config, shutdown_trigger=closing.wait))
            try:
                ready(startup_report(app.mesh.runtime, settings))
                await _either(serving, stop.wait())
                # Up to here everything is served. Now withdraw, refuse, let calls end; only then close connections.
                await _either(serving, app.stop())
                closing.set()
                await asyncio.wait([serving], timeout=_CLOSING)
            finally:
                await _end(serving)
    except asyncio.CancelledError:
        if started or told > 1 or not stop.is_set():
            raise
        return 0  # told before there was anything to stop
    if not serving.cancelled():
        serving.result()
    return 1 if told >= _AT_ONCE else 0


async def _either(serving: asyncio.Task[None], other: Coroutine[Any, Any, object]) -> None:
    """Return when one of them ends. The other is cancelled, unless it is serving."""
    task = asyncio.create_task(other)
    try:
        await asyncio.wait([serving, task], return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _end(serving: asyncio.Task[None]) -> None:
    # More than once: having been cancelled, hypercorn waits for its connections, from Python 3.12 on without bound.
    while not serving.done():
        serving.cancel()
        await asyncio.wait([serving], timeout=0.1)


def _config(descriptor: int) -> Config:
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.backlog = BACKLOG
    config.errorlog = logging.getLogger("hypercorn.error")  # in our form, not in its own
    config.errorlog.setLevel(logging.WARNING)  # "Running on" is said by us
    config.include_date_header = False  # nobody reads them, and they cost 16 us per answer
    config.include_server_header = False
    config.keep_alive_max_requests = _ENOUGH  # closing a connection in use gains nothing and may cost a call
    return config


def _without_lifespan(app: MeshApp) -> Any:
    """The application without its lifetime, which outlasts hypercorn's."""

    async def serve_request(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for done in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{done}.complete"})

    return serve_request
