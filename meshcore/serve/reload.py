"""`meshcore run --reload`: serves in a worker process that is restarted when a Python file changes. For development."""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from socket import socket
from types import FrameType

import msgspec
from watchfiles import PythonFilter, watch

from meshcore.core.settings import Settings
from meshcore.serve.address import at_address, open_socket
from meshcore.serve.module_loader import load_module, working_directory
from meshcore.serve.report import print_report
from meshcore.serve.unix_socket import bound_unix_socket
from meshcore.serve.workers import start_worker

log = logging.getLogger(__name__)

_DRAIN = 1.0
"""Seconds for calls in progress. Short, so that a saved change takes effect soon."""
_INTERVAL = 200
"""Milliseconds between two looks at the files."""
_LONGEST_STOP = 10.0
"""Seconds for a worker to end, before it is killed."""


def with_page(settings: Settings) -> Settings:
    """The settings with the live page, unless its setting says otherwise: who develops wants to see."""
    if settings.sources.get("page", "default") != "default":
        return settings
    sources = {**settings.sources, "page": "--reload"}
    return msgspec.structs.replace(settings, page="full", sources=sources)


def run_reloading(settings: Settings, *, bind: str, say: Callable[[str], None]) -> int:
    """Serve until SIGINT or SIGTERM, and restart after each change. Returns the exit status.

    The socket stays open during a restart, so clients wait and are not refused. If the module cannot start, the next
    change starts it again.

    Args:
        settings: its module is what is served.
        bind: "host:port"; port 0 takes a free one.
        say: is told what is served. What changed and what is wrong is logged.

    Raises:
        ConfigurationError: the address is not valid, or there is no module to serve.
        LocalError: the address cannot be bound.
    """
    if not settings.module:
        load_module(settings)  # raises an error that says what to set
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    roots = _roots(settings.module)
    with bound_unix_socket(settings.unix_socket) as more, open_socket(bind) as sock:
        settings = at_address(settings, sock)
        settings = msgspec.structs.replace(settings, drain=min(settings.drain, _DRAIN))
        server = _Server(settings, (sock, *more), say)
        stop = threading.Event()

        def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler
            stop.set()

        signal.signal(signal.SIGINT, on_signal)
        signal.signal(signal.SIGTERM, on_signal)
        try:
            # `watch` looks at the files before the first start, so that no later change is missed.
            for changes in watch(
                *roots,
                watch_filter=PythonFilter(),
                stop_event=stop,
                rust_timeout=_INTERVAL,
                yield_on_timeout=True,
                raise_interrupt=False,
            ):
                if changes:
                    log.info("changed: %s; starting again", ", ".join(sorted({Path(path).name for _, path in changes})))
                    server.end()
                if changes or not server.started:
                    server.start()
                server.report()
        finally:
            server.end()
    return 0


def _roots(module: str) -> list[Path]:
    """The folders to watch: the working directory, and that of the module if it is elsewhere. Imports nothing."""
    folder = working_directory()
    roots = [folder]
    try:
        spec = importlib.util.find_spec(module.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        spec = None
    if spec is not None:
        found = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])][:1]
        roots += [Path(each) for each in found if Path(each).exists() and folder not in Path(each).resolve().parents]
    return roots


class _Server:
    """The current worker process."""

    def __init__(self, settings: Settings, sockets: Sequence[socket], say: Callable[[str], None]) -> None:
        self._settings = settings
        self._sockets = sockets
        self._say = say
        self._reader, self._writer = multiprocessing.Pipe(duplex=False)
        self._process: BaseProcess | None = None
        self._failed = False

    @property
    def started(self) -> bool:
        """Whether a worker was started since the last end."""
        return self._process is not None

    def start(self) -> None:
        """Start a worker. `report` then reports how it went."""
        self._failed = False
        self._process = start_worker(self._settings, self._sockets, self._writer)

    def report(self) -> None:
        """Print what the worker serves, or log why it failed, once."""
        if self._reader.poll():
            found = self._reader.recv()
            if isinstance(found, str):
                self._failed = True
                log.error("%s; waiting for a change", found)
            else:
                print_report(found, 1, self._settings.log_format, self._say)
        elif self._process is not None and not self._process.is_alive() and not self._failed:
            self._failed = True
            log.error("the server ended with status %s; waiting for a change", self._process.exitcode)

    def end(self) -> None:
        """Stop the worker gracefully."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        process.join(self._settings.drain + _LONGEST_STOP)
        if process.is_alive():
            process.kill()
            process.join()
        while self._reader.poll():  # discard late reports of this worker
            self._reader.recv()
