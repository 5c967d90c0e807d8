"""Worker processes that share their sockets, and the parent process that starts, replaces and stops them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from meshcore.core.errors import Code, LocalError
from meshcore.core.settings import Settings
from meshcore.serve.logs import log_to_stderr
from meshcore.serve.monitoring.siblings import new_folder, retire
from meshcore.serve.process import run_to_the_end, serve_sockets
from meshcore.serve.report import print_report

log = logging.getLogger(__name__)

_LONGEST_STOP = 10.0
"""Seconds for a worker to end, in addition to the setting `drain`. Then it is killed."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds until a worker is started, if the one before it ended soon, and ended soon again."""
_STABLE = 60.0
"""Seconds. The end of a worker that has lived so long says nothing of the next one."""


class Restarts:
    """Decides when a worker that has ended is replaced: at first at once, and later if it keeps ending. Pure."""

    def __init__(self) -> None:
        self._pause = 0.0

    def pause(self, lived: float) -> float:
        """Seconds until the next start of a worker that has lived so long."""
        pause = 0.0 if lived >= _STABLE else self._pause
        self._pause = min(max(pause * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        return pause


def supervise(settings: Settings, sockets: Sequence[socket.socket], workers: int, say: Callable[[str], None]) -> int:
    """Start workers, replace those that end, and stop all on a signal. Returns the status of the first that failed."""
    with new_folder() as folder:
        return _Supervisor(settings, sockets, Path(folder)).run(workers, say)


class _Place:
    """One of the workers, and those that replace it.

    Attributes:
        process: that serves now, None while the next one waits for its start.
        start_at: when that is started, on `time.monotonic()`.
    """

    def __init__(self) -> None:
        self.process: BaseProcess | None = None
        self.start_at = 0.0
        self._begun = 0.0
        self._restarts = Restarts()

    def fill(self, process: BaseProcess) -> None:
        """Take a process that was just started."""
        self.process = process
        self._begun = time.monotonic()

    def look(self, siblings: Path) -> None:
        """If the process has ended, say so, keep what it has counted, and plan the next one."""
        process = self.process
        if process is None or process.is_alive():
            return
        process.join()
        retire(siblings, process.pid or 0)
        now = time.monotonic()
        pause = self._restarts.pause(now - self._begun)
        self.process, self.start_at = None, now + pause
        when = f"in {pause:g} s" if pause else "now"
        log.error("worker %s %s; another one is started %s", process.pid, _end_of(process), when)


class _Supervisor:
    """The parent of the workers."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket], siblings: Path) -> None:
        self._settings = settings
        self._sockets = sockets
        self._siblings = siblings
        self._places: list[_Place] = []
        self._stopping = False
        self._wake_reader, self._wake_writer = os.pipe()

    def run(self, workers: int, say: Callable[[str], None]) -> int:
        """Serve until a signal. Returns the exit status."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        # Others are started when the first is ready, so that a start-up error is reported once.
        reader, writer = multiprocessing.Pipe(duplex=False)
        first = self._start(_Place(), writer)
        wait([reader, first.sentinel])
        report = reader.recv() if reader.poll() else None
        if isinstance(report, str):
            first.join()
            raise LocalError(Code.FAILED_PRECONDITION, report)
        if report is not None and not self._stopping:
            while len(self._places) < workers:
                self._start(_Place())
            print_report(report, workers, self._settings.log_format, say)
            self._replace_until_stopped()
        for sock in self._sockets:
            sock.close()  # the workers have copies; while one of them is open, clients are not refused
        return self._join()

    def _start(self, place: _Place, writer: Connection[Any, Any] | None = None) -> BaseProcess:
        process = start_worker(self._settings, self._sockets, writer, self._siblings)
        place.fill(process)
        if place not in self._places:
            self._places.append(place)
        if self._stopping:  # the signal came before the worker was in the list
            self._stop()
        return process

    def _stop(self, number: int = 0, frame: FrameType | None = None) -> None:  # noqa: ARG002 - a signal handler
        if not self._stopping:
            self._stopping = True
            os.write(self._wake_writer, b"x")
        for process in self._processes():
            process.terminate()

    def _processes(self) -> list[BaseProcess]:
        return [place.process for place in self._places if place.process is not None]

    def _replace_until_stopped(self) -> None:
        while not self._stopping:
            now = time.monotonic()
            missing = [place for place in self._places if place.process is None]
            for place in missing:
                if place.start_at <= now:
                    log.info("started worker %s", self._start(place).pid)
            pauses = [place.start_at - now for place in missing if place.process is None]
            sentinels = [process.sentinel for process in self._processes()]
            wait([self._wake_reader, *sentinels], min(pauses, default=None))
            if not self._stopping:
                for place in self._places:
                    place.look(self._siblings)

    def _join(self) -> int:
        processes = self._processes()
        for process in processes:
            process.join(self._settings.drain + _LONGEST_STOP)
            if process.is_alive():
                process.kill()
                process.join()
        # A worker that got SIGTERM before it handled signals has not failed.
        codes = [process.exitcode or 0 for process in processes]
        return next((abs(code) for code in codes if code not in {0, -signal.SIGTERM}), 0)


def _end_of(process: BaseProcess) -> str:
    """How it ended."""
    code = process.exitcode or 0
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # of a real-time signal
        return f"was killed by signal {-code}"


def start_worker(
    settings: Settings,
    sockets: Sequence[socket.socket],
    writer: Connection[Any, Any] | None = None,
    siblings: Path | None = None,
) -> BaseProcess:
    """Start a process that serves on the sockets until SIGTERM, or until its parent has ended.

    Args:
        settings: the settings. They name the module to serve.
        sockets: the sockets, which are shared with the process.
        writer: gets the start-up report when the process is ready, or the text of an error.
        siblings: the folder in which the workers find each other, None if there is only one.
    """
    # Spawned, not forked: a fork would copy locks that are held by threads which it does not have.
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_work, args=(settings, sockets, writer, siblings), daemon=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker inherits it
    process.start()
    signal.signal(signal.SIGINT, handler)
    return process


def _work(
    settings: Settings,
    sockets: Sequence[socket.socket],
    writer: Connection[Any, Any] | None,
    siblings: Path | None,
) -> None:
    """The main function of a worker process."""
    log_to_stderr(settings.log_format, debug=settings.debug)
    send = writer.send if writer is not None else log.debug
    try:
        sys.exit(run_to_the_end(serve_sockets(settings, sockets, send, siblings)))
    except LocalError as error:
        if writer is not None:
            writer.send(error.message)
        else:
            log.error("cannot serve: %s", error.message)  # noqa: TRY400 - a traceback would add nothing
        sys.exit(1)
