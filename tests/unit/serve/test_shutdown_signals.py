"""How the shutdown of a server is delayed, and what counts as a second request."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal

import pytest

from meshcore.serve.shutdown_signals import Shutdown, _DelayedEvent, delay_shutdown


class Work:
    """A stop that ends when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.hurries = 0
        self.done = asyncio.Event()

    async def stop(self) -> None:
        self.begun += 1
        await self.done.wait()

    def hurry(self) -> None:
        self.hurries += 1


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_stop_runs_once_and_a_second_request_hurries_it() -> None:
    """The first request begins, `begin` never hurries, and it is done when `stop` has ended."""
    work = Work()
    shutdown = Shutdown(work.stop, work.hurry)
    shutdown.request()
    shutdown.begin()
    await asyncio.sleep(0)
    assert (work.begun, work.hurries, shutdown.done.is_set()) == (1, 0, False)
    shutdown.request()
    assert work.hurries == 1
    work.done.set()
    await asyncio.wait_for(shutdown.done.wait(), 1)
    assert work.begun == 1


async def test_a_stop_that_fails_is_over(caplog) -> None:
    """A server whose stop in order fails ends nevertheless, and the log says why."""

    async def fail() -> None:
        raise ValueError("the registry is on fire")

    shutdown = Shutdown(fail, lambda: None)
    shutdown.begin()
    await asyncio.wait_for(shutdown.done.wait(), 1)
    assert "the registry is on fire" in caplog.text


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_worker_hears_of_a_second_time(workers: int) -> None:
    """The event is set for hypercorn when stop is over; set again, once all workers have seen it, it hurries stop."""
    work, clock = Work(), Clock()
    event = multiprocessing.get_context("spawn").Event()
    delayed = _DelayedEvent(Shutdown(work.stop, work.hurry), event, workers, clock)
    assert not delayed.is_set()
    await asyncio.sleep(0)
    assert work.begun == 0
    event.set()
    assert not delayed.is_set()
    await asyncio.sleep(0)
    assert work.begun == 1
    assert event.is_set() == (workers == 2)  # the other one may not have looked yet
    clock.now += 0.5
    assert not delayed.is_set()
    assert not event.is_set()
    assert work.hurries == 0
    event.set()
    assert not delayed.is_set()
    assert work.hurries == 1
    work.done.set()
    await asyncio.sleep(0.01)
    assert delayed.is_set()


async def test_a_signal_reaches_the_loop_after_the_stop() -> None:
    """A handler that the server added to the loop runs when `stop` has ended; other signals are not delayed."""
    loop = asyncio.get_running_loop()
    heard: list[int] = []
    told, other = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, lambda: (heard.append(1), told.set()))
    loop.add_signal_handler(signal.SIGUSR1, other.set)
    work = Work()
    try:
        with delay_shutdown(work.stop, work.hurry):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.wait_for(other.wait(), 2)
            assert (work.begun, work.hurries, heard) == (1, 0, [])
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(2):
                while not work.hurries:
                    await asyncio.sleep(0.01)
            work.done.set()
            await asyncio.wait_for(told.wait(), 2)
        told.clear()
        os.kill(os.getpid(), signal.SIGTERM)  # and afterwards everything is as it was
        await asyncio.wait_for(told.wait(), 2)
        assert work.begun == 1
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGUSR1)


async def test_nothing_is_delayed_without_signal_handlers() -> None:
    """A lifespan in a program without handlers in its loop leaves the signals alone."""
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    work = Work()
    with delay_shutdown(work.stop, work.hurry):
        current = signal.set_wakeup_fd(before)
        assert current == before
