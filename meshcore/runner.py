"""Serves a module with hypercorn, started by us: then the socket, the signals and the order of the end are ours.

Why not hypercorn's own way: from Python 3.12 on it waits without bound for connections that never end, and of several
workers it kills the others as soon as the first has stopped, calls and all.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import msgspec
from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType] - its WSGI half
from hypercorn.config import Config

from meshcore.app import load_module
from meshcore.body import Receive, Scope, Send
from meshcore.errors import Code, ConfigurationError, LocalError
from meshcore.logs import log_to_stderr
from meshcore.serving import MeshApp
from meshcore.settings import Settings
from meshcore.startup import startup_report, startup_text

log = logging.getLogger("meshcore.runner")

DEFAULT_BIND = "127.0.0.1:8000"

_BACKLOG = 1024
_CLOSING = 3.0
"""Seconds for connections to close after the last call; whoever still uploads then is cut off."""
_LONGEST_STOP = 10.0
"""Seconds for a worker to end, beyond the setting `drain`, before it is killed."""
_THREADS = 2.0
"""Seconds for threads to end, after everything else has."""
_ENOUGH = 2**31 - 1
_AT_ONCE = 2
"""How often a server is told to end until it does so at once."""


def run(settings: Settings, *, bind: str = DEFAULT_BIND, workers: int = 1, say: Callable[[str], None] = print) -> int:
    """Serve until SIGINT or SIGTERM, then end in order; a second signal ends at once.

    If nobody set `advertise_url`, what is bound is advertised. The process should end when this returns: it is ended
    soon after if there are threads that do not.

    Args:
        settings: its module is what is served.
        bind: "host:port"; port 0 takes a free one.
        workers: processes that serve. One serves in this process; more are started, and share the address.
        say: is told what is served and where, when the address is open.

    Returns:
        The exit status.

    Raises:
        ConfigurationError: the module cannot be served.
        LocalError: the address cannot be bound.
    """
    load_module(settings)  # here, so that what is wrong with it is said once and not by every worker
    if workers < 1:
        raise ConfigurationError("cannot serve", [f"workers must be a whole number above 0, got {workers}"])
    with open_socket(bind) as sock:
        settings = at_address(settings, sock)
        if workers > 1:
            return _supervise(settings, sock, workers, say)
        return _to_the_end(_serve(settings, sock, lambda report: say(startup_text(report, 1, settings.log_format))))


def open_socket(bind: str) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigurationError: the address makes no sense.
        LocalError: it cannot be bound.
    """
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004 - the largest port
        raise ConfigurationError("cannot serve", [f"bind must be host:port, such as {DEFAULT_BIND}, got {bind!r}"])
    host = host.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104 - ":8000" is how people ask for it
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last run may linger
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # is passed on to accepted connections
        sock.bind((host, int(port)))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        text = f"cannot listen at {bind}: {reason[:1].lower()}{reason[1:]}; choose another address with --bind"
        raise LocalError(Code.UNAVAILABLE, text) from error
    sock.setblocking(False)  # noqa: FBT003
    return sock


def at_address(settings: Settings, sock: socket.socket) -> Settings:
    """The settings for a server on this socket, whose URL is advertised unless somebody set another.

    What is bound to all interfaces has the machine's name.
    """
    if settings.sources.get("advertise_url", "default") != "default":
        return settings
    host, port = sock.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - it is compared
        host = socket.gethostname()
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    sources = {**settings.sources, "advertise_url": "what is bound"}
    return msgspec.structs.replace(settings, advertise_url=url, sources=sources)


def _to_the_end(serving: Coroutine[Any, Any, int]) -> int:
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


async def _serve(settings: Settings, sock: socket.socket, ready: Callable[[dict[str, Any]], None]) -> int:
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
    config.backlog = _BACKLOG
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


def _supervise(settings: Settings, sock: socket.socket, workers: int, say: Callable[[str], None]) -> int:
    """Start workers, pass signals on, and end all when one ends. Returns the status of the first that failed."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    started: list[BaseProcess] = []
    told = False

    def tell(number: int = 0, frame: FrameType | None = None) -> None:  # noqa: ARG001 - a signal handler
        nonlocal told
        told = True
        for process in started:
            process.terminate()

    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGINT, tell)
    started.append(start_worker(settings, sock, writer))
    if told:  # before there was a worker to tell
        tell()
    # The first has to be ready before there are others, so that what cannot work is said once.
    wait([reader, started[0].sentinel])
    report = reader.recv() if reader.poll() else None
    if isinstance(report, str):
        started[0].join()
        raise LocalError(Code.FAILED_PRECONDITION, report)
    while len(started) < workers and not told:
        started.append(start_worker(settings, sock))
    sock.close()  # theirs are copies; as long as one of us listens clients are not refused
    if not told and report is not None:
        say(startup_text(report, workers, settings.log_format))
    wait([process.sentinel for process in started])
    if not told:
        log.error("a worker ended by itself; stopping the others")
        tell()
    for process in started:
        process.join(settings.drain + _LONGEST_STOP)
        if process.is_alive():
            process.kill()
            process.join()
    # One that was told to end before it could listen to signals is no failure.
    codes = [process.exitcode or 0 for process in started]
    return next((abs(code) for code in codes if code not in {0, -signal.SIGTERM}), 0)


def start_worker(settings: Settings, sock: socket.socket, writer: Connection[Any, Any] | None = None) -> BaseProcess:
    """Start a process that serves on the socket until SIGTERM, or until its parent is gone.

    Args:
        settings: its module is what is served.
        sock: is shared with it.
        writer: gets the start-up report when it is ready, or else the text of what is wrong.
    """
    # Spawned, not forked: a fork would take over locks of threads that it does not have.
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_work, args=(settings, sock, writer), daemon=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the worker inherits
    process.start()
    signal.signal(signal.SIGINT, handler)
    return process


def _work(settings: Settings, sock: socket.socket, writer: Connection[Any, Any] | None) -> None:
    """What a worker process does."""
    log_to_stderr(settings.log_format, debug=settings.debug)
    send = writer.send if writer is not None else log.debug
    try:
        sys.exit(_to_the_end(_serve(settings, sock, send)))
    except LocalError as error:
        if writer is not None:
            writer.send(error.message)
        else:
            log.error("cannot serve: %s", error.message)  # noqa: TRY400 - the text says it all
        sys.exit(1)
