"""Holds a server's end back until the mesh in it has stopped in order.

A server that is told to end closes its connections first and tells its applications last: calls that run, and those
just on their way, are lost. Here the telling is held back, `stop` runs, and only then the server hears of it. Whoever
tells it twice means now.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.synchronize import Event
from typing import Any

log = logging.getLogger(__name__)

_ALL_HAVE_SEEN = 0.5
"""Seconds after which every worker has looked at an event that hypercorn's workers look at every 0.1 s."""

_ENDS = frozenset({signal.SIGINT, signal.SIGTERM})


class Stopping:
    """Runs `stop` once, however many ask for it, and hurries it when somebody asks again.

    Attributes:
        over: `stop` has ended, so the server may end.
    """

    def __init__(self, stop: Callable[[], Awaitable[None]], hurry: Callable[[], None]) -> None:
        self._stop = stop
        self._hurry = hurry
        self._task: asyncio.Task[None] | None = None
        self._begun = False
        self.over = asyncio.Event()

    def begin(self) -> None:
        """Stop, unless that has begun."""
        if not self._begun:
            self._begun = True
            self._task = asyncio.create_task(self._run(), name="meshcore.stop")

    def ask(self) -> None:
        """Stop; asked again, stop now."""
        if self._begun:
            self._hurry()
        self.begin()

    async def _run(self) -> None:
        try:
            await self._stop()
        except Exception:
            log.exception("stopping in order failed; the server ends now")
        finally:
            self.over.set()


@contextmanager
def held(stop: Callable[[], Awaitable[None]], hurry: Callable[[], None]) -> Generator[None]:
    """While the context lasts, let `stop` run before the server hears that it is to end.

    Args:
        stop: is run first.
        hurry: is called when the server is told again: `stop` should then end at once.
    """
    stopping = Stopping(stop, hurry)
    event = _shutdown_event()
    with _parent_watched(stopping if event is not None else None):
        if event is None:
            with _signals_held(stopping):
                yield
        else:
            with _event_held(stopping, event[0], event[1]):
                yield


# --- a server in this process: signals --------------------------------------------------------------------------------


@contextmanager
def _signals_held(stopping: Stopping) -> Generator[None]:
    """Hold back SIGINT and SIGTERM from the handlers that the server has added to the event loop.

    A loop hears of signals through the wakeup descriptor, to which the interpreter writes their numbers. For a while
    that is ours, and the numbers go on to the loop's when it is time; so no handler needs to be known or replaced. Who
    adds another handler to the loop meanwhile takes the descriptor back, and has what he would have without us.
    """
    loop = asyncio.get_running_loop()
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)  # noqa: FBT003
        writer.setblocking(False)  # noqa: FBT003
        try:
            before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        except ValueError:  # not the main thread, where no signals arrive
            yield
            return
        if before == -1:  # nobody waits for signals in the loop
            signal.set_wakeup_fd(-1)
            yield
            return

        def pass_on(number: int) -> None:
            with suppress(OSError):  # the loop is gone, or awake already with more signals than it can count
                os.write(before, bytes([number]))

        async def pass_on_later(number: int) -> None:
            await stopping.over.wait()
            pass_on(number)

        waiting: set[asyncio.Task[None]] = set()

        def on_signals() -> None:
            for number in reader.recv(4096):
                if number not in _ENDS or stopping.over.is_set():
                    pass_on(number)
                    continue
                stopping.ask()
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
    """The event by which hypercorn's parent process tells this worker to end, and how many workers look at it.

    hypercorn hands it to no application. But its workers are processes of `multiprocessing`, which keep the arguments
    that they were started with. That is not public; if it is ever not there, the server ends as it does without us.
    """
    if multiprocessing.parent_process() is None:
        return None
    arguments: dict[str, Any] = getattr(multiprocessing.current_process(), "_kwargs", {})
    event = arguments.get("shutdown_event")
    if not isinstance(event, Event):
        log.warning("the parent of this worker is no hypercorn known here: it may end this process before its calls")
        return None
    return event, getattr(arguments.get("config"), "workers", 2)


@contextmanager
def _event_held(stopping: Stopping, event: Event, workers: int) -> Generator[None]:
    """Let hypercorn's worker see the event as set only when it may end.

    When one worker has ended, the parent sends SIGTERM to the others, whose calls must not die of it. So that tells a
    worker to stop, but never to hurry. Neither does the first SIGINT: Ctrl-C reaches the parent as well.
    """
    loop = asyncio.get_running_loop()
    gate = _Gate(stopping, event, workers, loop.time)
    interrupted = False

    def on_interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            stopping.ask()
        interrupted = True
        stopping.begin()

    event.is_set = gate.is_set  # type: ignore[method-assign] # of this process's object; the parent has its own
    # They stay until the loop is closed: the parent's SIGTERM may come while the rest is cleaned up.
    with suppress(ValueError, RuntimeError):  # not the main thread
        loop.add_signal_handler(signal.SIGTERM, stopping.begin)
        loop.add_signal_handler(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        del event.is_set


class _Gate:
    """The event as hypercorn is to see it. hypercorn looks at it every 0.1 s, so that is when it is decided."""

    def __init__(self, stopping: Stopping, event: Event, workers: int, clock: Callable[[], float]) -> None:
        self._stopping = stopping
        self._event = event
        self._really = partial(Event.is_set, event)
        self._clock = clock
        self._rearm = _ALL_HAVE_SEEN if workers > 1 else 0.0
        self._seen = 0.0
        self._rearmed = False

    def is_set(self) -> bool:
        if self._really():
            if not self._seen:
                self._seen = self._clock()
                self._stopping.begin()
            elif self._rearmed:
                self._stopping.ask()
            # An event that is set cannot tell that it is set again. When all workers have seen it, it need not be any
            # more; one that was too busy to look is told by the parent's SIGTERM when the first of the others ends.
            if not self._rearmed and self._clock() - self._seen >= self._rearm:
                self._event.clear()
                self._rearmed = True
        return self._stopping.over.is_set()


@contextmanager
def _parent_watched(stopping: Stopping | None) -> Generator[None]:
    """End this process when the one that started it as a worker is gone.

    hypercorn starts a worker also for `--workers 1`, and that goes on, announced and unsupervised, after a SIGKILL of
    its parent.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        yield
        return
    loop = asyncio.get_running_loop()
    sentinel = parent.sentinel

    def gone() -> None:
        loop.remove_reader(sentinel)
        if stopping is not None:
            stopping.begin()
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(sentinel, gone)
    try:
        yield
    finally:
        loop.remove_reader(sentinel)
