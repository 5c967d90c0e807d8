"""`meshcore run --reload`: serves in a worker that is replaced when a Python file changes, for those who develop."""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from socket import socket
from types import FrameType

import msgspec
from watchfiles import PythonFilter, watch

from meshcore.core.settings import Settings
from meshcore.serve.address import at_address, open_socket
from meshcore.serve.load import load_module, working_directory
from meshcore.serve.report import print_report
from meshcore.serve.workers import start_worker

log = logging.getLogger(__name__)

_DRAIN = 1.0
"""Seconds for calls in progress: who has just saved a file does not want to wait for those of the old one."""
_LOOK = 200
"""Milliseconds after which a change is noticed at the latest."""
_LONGEST_STOP = 10.0
"""Seconds for a worker to end, before it is killed."""


def run_reloading(settings: Settings, *, bind: str, say: Callable[[str], None]) -> int:
    """Serve until SIGINT or SIGTERM, anew after each change; the exit status.

    The socket stays open meanwhile, so clients wait for a moment and are not refused. A module that cannot start is
    tried again after the next change.

    Args:
        settings: its module is what is served.
        bind: "host:port"; port 0 takes a free one.
        say: is told what is served. What changed and what is wrong is logged.

    Raises:
        ConfigurationError: the address makes no sense, or there is no module to serve.
        LocalError: it cannot be bound.
    """
    if not settings.module:
        load_module(settings)  # which says what to do
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    roots = _roots(settings.module)
    with open_socket(bind) as sock:
        settings = at_address(settings, sock)
        server = _Server(msgspec.structs.replace(settings, drain=min(settings.drain, _DRAIN)), sock, say)
        stop = threading.Event()

        def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler
            stop.set()

        signal.signal(signal.SIGINT, on_signal)
        signal.signal(signal.SIGTERM, on_signal)
        try:
            # The first look comes before the first start: what changes from then on is not missed.
            for changes in watch(
                *roots,
                watch_filter=PythonFilter(),
                stop_event=stop,
                rust_timeout=_LOOK,
                yield_on_timeout=True,
                raise_interrupt=False,
            ):
                if changes:
                    log.info("changed: %s; starting again", ", ".join(sorted({Path(path).name for _, path in changes})))
                    server.end()
                if changes or not server.started:
                    server.start()
                server.tell()
        finally:
            server.end()
    return 0


def _roots(module: str) -> list[Path]:
    """What is watched: the working directory, and the module if it is elsewhere. Nothing of it is imported."""
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
    """The worker of the moment."""

    def __init__(self, settings: Settings, sock: socket, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._sock = sock
        self._say = say
        self._reader, self._writer = multiprocessing.Pipe(duplex=False)
        self._process: BaseProcess | None = None
        self._dead = False

    @property
    def started(self) -> bool:
        """Whether there was a start since the last end."""
        return self._process is not None

    def start(self) -> None:
        """Start a worker; `tell` tells what came of it."""
        self._dead = False
        self._process = start_worker(self._settings, self._sock, self._writer)

    def tell(self) -> None:
        """Tell what the worker serves, or what is wrong with it, once."""
        if self._reader.poll():
            found = self._reader.recv()
            if isinstance(found, str):
                self._dead = True
                log.error("%s; waiting for a change", found)
            else:
                print_report(found, 1, self._settings.log_format, self._say)
        elif self._process is not None and not self._process.is_alive() and not self._dead:
            self._dead = True
            log.error("the server ended with status %s; waiting for a change", self._process.exitcode)

    def end(self) -> None:
        """Stop the worker in order."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        process.join(self._settings.drain + _LONGEST_STOP)
        if process.is_alive():
            process.kill()
            process.join()
        while self._reader.poll():  # what it still said concerns nobody any more
            self._reader.recv()
