"""Worker processes that share one socket, and the parent process that starts and stops them."""

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
"""Seconds for a worker to end, in addition to the setting `drain`. Then it is killed."""


def supervise(settings: Settings, sock: socket.socket, workers: int, say: Callable[[str], None]) -> int:
    """Start workers, forward signals, and end all when one ends. Returns the status of the first that failed."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    started: list[BaseProcess] = []
    stopping = False

    def stop(number: int = 0, frame: FrameType | None = None) -> None:  # noqa: ARG001 - a signal handler
        nonlocal stopping
        stopping = True
        for process in started:
            process.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    started.append(start_worker(settings, sock, writer))
    if stopping:  # the signal came before the worker was in the list
        stop()
    # Others are started when the first is ready, so that a start-up error is reported once.
    wait([reader, started[0].sentinel])
    report = reader.recv() if reader.poll() else None
    if isinstance(report, str):
        started[0].join()
        raise LocalError(Code.FAILED_PRECONDITION, report)
    while len(started) < workers and not stopping:
        started.append(start_worker(settings, sock))
    sock.close()  # the workers have copies; while one of them is open, clients are not refused
    if not stopping and report is not None:
        print_report(report, workers, settings.log_format, say)
    wait([process.sentinel for process in started])
    if not stopping:
        log.error("a worker ended by itself; stopping the others")
        stop()
    for process in started:
        process.join(settings.drain + _LONGEST_STOP)
        if process.is_alive():
            process.kill()
            process.join()
    # A worker that got SIGTERM before it handled signals has not failed.
    codes = [process.exitcode or 0 for process in started]
    return next((abs(code) for code in codes if code not in {0, -signal.SIGTERM}), 0)


def start_worker(settings: Settings, sock: socket.socket, writer: Connection[Any, Any] | None = None) -> BaseProcess:
    """Start a process that serves on the socket until SIGTERM, or until its parent has ended.

    Args:
        settings: the settings. They name the module to serve.
        sock: the socket, which is shared with the process.
        writer: gets the start-up report when the process is ready, or the text of an error.
    """
    # Spawned, not forked: a fork would copy locks that are held by threads which it does not have.
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_work, args=(settings, sock, writer), daemon=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker inherits it
    process.start()
    signal.signal(signal.SIGINT, handler)
    return process


def _work(settings: Settings, sock: socket.socket, writer: Connection[Any, Any] | None) -> None:
    """The main function of a worker process."""
    log_to_stderr(settings.log_format, debug=settings.debug)
    send = writer.send if writer is not None else log.debug
    try:
        sys.exit(run_to_the_end(serve_socket(settings, sock, send)))
    except LocalError as error:
        if writer is not None:
            writer.send(error.message)
        else:
            log.error("cannot serve: %s", error.message)  # noqa: TRY400 - a traceback would add nothing
        sys.exit(1)
