"""Several processes that serve one socket, and the parent that starts and stops them."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from meshcore.core.errors import Code, LocalError
from meshcore.core.settings import Settings
from meshcore.serve.logs import log_to_stderr
from meshcore.serve.process import run_to_the_end, serve_socket
from meshcore.serve.report import print_report

log = logging.getLogger(__name__)

_LONGEST_STOP = 10.0
"""Seconds for a worker to end, beyond the setting `drain`, before it is killed."""


def supervise(settings: Settings, sock: socket.socket, workers: int, say: Callable[[str], None]) -> int:
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
        print_report(report, workers, settings.log_format, say)
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
        sys.exit(run_to_the_end(serve_socket(settings, sock, send)))
    except LocalError as error:
        if writer is not None:
            writer.send(error.message)
        else:
            log.error("cannot serve: %s", error.message)  # noqa: TRY400 - the text says it all
        sys.exit(1)
