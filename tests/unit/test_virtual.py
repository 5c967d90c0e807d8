"""The event loop of virtual time."""

from __future__ import annotations

import asyncio
import time

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


async def hang() -> None:
    """Wait for nothing."""
    await asyncio.Event().wait()
