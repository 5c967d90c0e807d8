"""The event loop of virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import anyio.to_thread
import pytest

from meshcore.testing import run_virtually


def test_virtual_time_takes_no_time() -> None:
    """An hour is over at once, and everything in it happened in its order."""
    happened: list[tuple[float, str]] = []

    async def nap(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        happened.append((asyncio.get_running_loop().time(), name))

    async def hour() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(nap("long", 3600.0))
            group.create_task(nap("short", 0.5))

    begun = time.perf_counter()
    run_virtually(hour())
    assert time.perf_counter() - begun < 5.0
    assert happened == [(0.5, "short"), (3600.0, "long")]


def test_waiting_for_nothing_is_an_error() -> None:
    """A simulation that could only hang says so."""
    with pytest.raises(RuntimeError, match="this would hang for ever"):
        run_virtually(hang())


def test_the_monotonic_clock_goes_by_the_loop() -> None:
    """Whoever reads `time.monotonic` meanwhile reads virtual time; afterwards the clock is the machine's again."""
    clock = time.monotonic

    async def nap() -> float:
        begun = time.monotonic()
        await asyncio.sleep(3600.0)
        return time.monotonic() - begun

    assert run_virtually(nap()) == 3600.0
    assert time.monotonic is clock
    with pytest.raises(RuntimeError, match="this would hang for ever"):
        run_virtually(hang())
    assert time.monotonic is clock


@pytest.mark.parametrize("in_thread", [asyncio.to_thread, anyio.to_thread.run_sync])
def test_time_waits_for_threads(in_thread: Callable[..., Awaitable[None]]) -> None:
    """What a thread does takes no virtual time, however near the next timer is, and time goes on after it."""

    async def work() -> list[float]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(3.0):
            await in_thread(sleep, 0.05)
        times = [loop.time()]
        await asyncio.sleep(3600.0)
        return [*times, loop.time()]

    begun = time.perf_counter()
    assert run_virtually(work()) == [0.0, 3600.0]
    assert 0.05 < time.perf_counter() - begun < 5.0


def test_a_thread_that_takes_longer_than_the_next_timer() -> None:
    """The timer goes off when it would: a deadline is one for threads as well."""

    async def work() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.to_thread(sleep, 0.5)
        return asyncio.get_running_loop().time()

    begun = time.perf_counter()
    assert run_virtually(work()) == pytest.approx(0.05)
    assert time.perf_counter() - begun > 0.4  # the loop's end waits for its threads


def test_a_job_in_an_executor_of_one_s_own() -> None:
    """Also what was cancelled before it began, or fails."""

    async def work() -> float:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            first, second = (loop.run_in_executor(pool, sleep, 0.05) for _ in range(2))
            second.cancel()
            await first
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(pool, lambda: 1 / 0)
        await asyncio.sleep(1.0)
        return loop.time()

    assert run_virtually(work()) == 1.0


async def hang() -> None:
    """Wait for nothing."""
    await asyncio.Event().wait()
