"""Delays the shutdown of an ASGI server until the mesh in it has shut down gracefully.

On a signal, a server closes its connections before it informs its applications: running calls and calls on their way
are lost. Here the signal is intercepted, `stop` runs, and only then the server gets the signal. A second signal means
an immediate end.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.synchronize import Event
from types import FrameType

from meshcore.serve.hypercorn_worker import worker_arguments

log = logging.getLogger(__name__)

_SEEN_BY_ALL = 0.5
"""Seconds after which all workers have read the event. hypercorn's workers read it every 0.1 s."""

_SHUTDOWN_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


class Shutdown:
    """Runs `stop` once. A second request calls `hurry`.

    Attributes:
        done: `stop` has ended, so the server may end.
    """

    def __init__(self, stop: Callable[[], Awaitable[None]], hurry: Callable[[], None]) -> None:
        self._stop = stop
        self._hurry = hurry
        self._task: asyncio.Task[None] | None = None
        self._begun = False
        self.done = asyncio.Event()

    def begin(self) -> None:
        """Run `stop`, unless it has begun."""
        if not self._begun:
            self._begun = True
            self._task = asyncio.create_task(self._run(), name="meshcore.stop")

    def request(self) -> None:
        """Run `stop`. If it has begun, hurry it."""
        if self._begun:
            self._hurry()
        self.begin()

    async def _run(self) -> None:
        try:
            await self._stop()
        except Exception:
            log.exception("the graceful shutdown failed; the server ends now")
        finally:
            self.done.set()


@contextmanager
def delay_shutdown(stop: Callable[[], Awaitable[None]], hurry: Callable[[], None]) -> Generator[None]:
    """While the context lasts, run `stop` before the server gets a signal to end.

    Args:
        stop: shuts the mesh down.
        hurry: called on a second signal. `stop` should then end at once.
    """
    shutdown = Shutdown(stop, hurry)
    event = _shutdown_event()
    with _watch_parent(shutdown if event is not None else None):
        if event is None:
            with _delay_handlers(shutdown) as delayed, _delay_signals(shutdown, delayed):
                yield
        else:
            with _delay_event(shutdown, event[0], event[1]):
                yield


# --- a server in this process: signals --------------------------------------------------------------------------------


@contextmanager
def _delay_handlers(shutdown: Shutdown) -> Generator[frozenset[int]]:
    """Delay SIGINT and SIGTERM for a server with handlers of its own, as uvicorn's. Yields the signals that have one.

    Only the first signal is passed on: to uvicorn a second one says that it need not shut its applications down.
    """
    loop = asyncio.get_running_loop()
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {
        number: handler for number in _SHUTDOWN_SIGNALS if (handler := _handler_of_server(number)) is not None
    }
    waiting: list[asyncio.Task[None]] = []

    async def pass_on_later(number: int, frame: FrameType | None) -> None:
        await shutdown.done.wait()
        handlers[number](number, frame)

    def on_request(number: int, frame: FrameType | None) -> None:
        shutdown.request()
        if not waiting:
            waiting.append(asyncio.create_task(pass_on_later(number, frame)))

    def on_signal(number: int, frame: FrameType | None) -> None:
        if shutdown.done.is_set():
            handlers[number](number, frame)
        else:
            loop.call_soon_threadsafe(on_request, number, frame)

    try:
        for number in handlers:
            signal.signal(number, on_signal)
        yield frozenset(handlers)
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is on_signal:
                signal.signal(number, handler)
        for task in waiting:
            task.cancel()


def _handler_of_server(number: int) -> Callable[[int, FrameType | None], object] | None:
    """The handler of a signal that is a function, but for those of event loops, which learn of signals otherwise."""
    handler = signal.getsignal(number)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        return None
    function: object = getattr(handler, "func", handler)  # of a partial
    module = getattr(function, "__module__", None) or ""
    return None if module.partition(".")[0] in {"signal", "_signal", "asyncio", "uvloop"} else handler


@contextmanager
def _delay_signals(shutdown: Shutdown, delayed: frozenset[int]) -> Generator[None]:
    """Delay SIGINT and SIGTERM for the handlers that the server has added to the event loop.

    The interpreter writes the number of a signal to the wakeup descriptor, from which the event loop reads it. Here the
    descriptor is replaced by our own, and the numbers are written to the loop's descriptor later. So the handlers need
    not be known. If a handler is added to the loop meanwhile, the loop sets its own descriptor again, and signals are
    no longer delayed.

    Args:
        shutdown: what runs before.
        delayed: the signals that are delayed otherwise.
    """
    loop = asyncio.get_running_loop()
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)  # noqa: FBT003
        writer.setblocking(False)  # noqa: FBT003
        try:
            before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        except ValueError:  # not the main thread: no signals arrive here
            yield
            return
        if before == -1:  # the loop has no signal handlers
            signal.set_wakeup_fd(-1)
            yield
            return

        def pass_on(number: int) -> None:
            with suppress(OSError):  # the loop is closed, or its buffer is full of signals
                os.write(before, bytes([number]))

        async def pass_on_later(number: int) -> None:
            await shutdown.done.wait()
            pass_on(number)

        waiting: set[asyncio.Task[None]] = set()

        def on_signals() -> None:
            for number in reader.recv(4096):
                if number not in _SHUTDOWN_SIGNALS - delayed or shutdown.done.is_set():
                    pass_on(number)
                    continue
                shutdown.request()
                waiting.add(asyncio.create_task(pass_on_later(number)))

        loop.add_reader(reader, on_signals)
        try:
            yield
        finally:
            loop.remove_reader(reader)
            current = signal.set_wakeup_fd(before, warn_on_full_buffer=False)
            if current != writer.fileno():
                signal.set_wakeup_fd(current)
            for task in waiting:
                task.cancel()


# --- a worker of hypercorn: an event of its parent --------------------------------------------------------------------


def _shutdown_event() -> tuple[Event, int] | None:
    """The event by which hypercorn's parent process ends its workers, and the number of workers.

    If it cannot be found, the shutdown is not delayed.
    """
    if multiprocessing.parent_process() is None:
        return None
    arguments = worker_arguments()
    if not arguments and _handler_of_server(signal.SIGTERM) is None:
        log.warning("the parent of this worker is no known hypercorn: it may end this process before its calls end")
    if not arguments:
        return None
    return arguments["shutdown_event"], getattr(arguments.get("config"), "workers", 2)


@contextmanager
def _delay_event(shutdown: Shutdown, event: Event, workers: int) -> Generator[None]:
    """Make the event look unset to hypercorn's worker until the mesh has shut down.

    When one worker has ended, the parent sends SIGTERM to the others. Their calls must still end gracefully, so SIGTERM
    begins the shutdown but never hurries it. Neither does the first SIGINT: Ctrl-C reaches the parent as well.
    """
    loop = asyncio.get_running_loop()
    delayed = _DelayedEvent(shutdown, event, workers, loop.time)
    interrupted = False

    def on_interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            shutdown.request()
        interrupted = True
        shutdown.begin()

    event.is_set = delayed.is_set  # type: ignore[method-assign] # of this process's object; the parent has its own
    # The handlers stay until the loop is closed: the parent's SIGTERM may arrive during the clean-up.
    with suppress(ValueError, RuntimeError):  # not the main thread
        loop.add_signal_handler(signal.SIGTERM, shutdown.begin)
        loop.add_signal_handler(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        del event.is_set


class _DelayedEvent:
    """The event as hypercorn's worker sees it. hypercorn calls `is_set` every 0.1 s."""

    def __init__(self, shutdown: Shutdown, event: Event, workers: int, clock: Callable[[], float]) -> None:
        self._shutdown = shutdown
        self._event = event
        self._really_set = partial(Event.is_set, event)
        self._clock = clock
        self._clear_after = _SEEN_BY_ALL if workers > 1 else 0.0
        self._seen_at = 0.0
        self._cleared = False

    def is_set(self) -> bool:
        if self._really_set():
            if not self._seen_at:
                self._seen_at = self._clock()
                self._shutdown.begin()
            elif self._cleared:
                self._shutdown.request()
            # The event is cleared when all workers have seen it, so that setting it a second time is noticed. A worker
            # that was too busy to see it gets the parent's SIGTERM when the first of the others ends.
            if not self._cleared and self._clock() - self._seen_at >= self._clear_after:
                self._event.clear()
                self._cleared = True
        return self._shutdown.done.is_set()


@contextmanager
def _watch_parent(shutdown: Shutdown | None) -> Generator[None]:
    """End this process when its parent process has ended, if it is a worker.

    hypercorn starts a worker process even for `--workers 1`. After a SIGKILL of the parent it would run on, announced
    and unsupervised.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        yield
        return
    loop = asyncio.get_running_loop()
    sentinel = parent.sentinel

    def gone() -> None:
        loop.remove_reader(sentinel)
        if shutdown is not None:
            shutdown.begin()
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(sentinel, gone)
    try:
        yield
    finally:
        loop.remove_reader(sentinel)
