"""A watch of a registry whose sightings a test waits for, with a time limit."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from meshcore.core.instances import Sighting
    from meshcore.ports.registry import ComponentRegistry


@asynccontextmanager
async def watching(
    registry: ComponentRegistry, component: str, *, seconds: float = 1.0
) -> AsyncGenerator[Watcher, None]:
    """Watch a component in the background while the context lasts.

    Args:
        registry: a registry that is entered.
        component: the component's name.
        seconds: how long `until` waits.
    """
    watcher = Watcher(component, seconds)
    task = asyncio.create_task(watcher.read(registry))
    try:
        yield watcher
    finally:
        task.cancel()
        await asyncio.wait([task])


class Watcher:
    """Keeps the sightings of one watch.

    Attributes:
        seen: all sightings, oldest first.
    """

    def __init__(self, component: str, seconds: float) -> None:
        self.seen: list[Sighting] = []
        self._component = component
        self._seconds = seconds
        self._news = asyncio.Event()
        self._end: str | None = None

    async def read(self, registry: ComponentRegistry) -> None:
        """Read the watch until cancelled."""
        try:
            async with aclosing(registry.watch(self._component)) as sightings:
                async for sighting in sightings:
                    self.seen.append(sighting)
                    self._news.set()
            self._end = "the watch ended"
        except Exception as error:  # noqa: BLE001 - `until` reports any error
            self._end = f"the watch raised {error!r}"
        finally:
            self._news.set()

    async def until(self, expected: Sighting) -> None:
        """Wait until this is the newest sighting.

        Raises:
            AssertionError: it did not come in time, the watch ended, or it reported a sighting twice in a row.
        """
        try:
            async with asyncio.timeout(self._seconds):
                while self._newest != expected:
                    self._check_running(expected)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(
                f"the watch of {self._component!r} did not report {expected} within {self._seconds} s, "
                f"its newest sighting is {self._newest}"
            ) from None
        for sighting, following in pairwise(self.seen):
            if sighting == following:
                raise AssertionError(f"the watch of {self._component!r} reported twice in a row {sighting}")

    async def stays_silent(self) -> None:
        """Wait for the seconds of this watcher, and check that no sighting comes.

        Raises:
            AssertionError: a sighting came.
        """
        before = len(self.seen)
        self._news.clear()
        try:
            async with asyncio.timeout(self._seconds):
                await self._news.wait()
        except TimeoutError:
            return
        raise AssertionError(f"the watch of {self._component!r} reported {self._end or self.seen[before:]}")

    @property
    def _newest(self) -> Sighting | None:
        return self.seen[-1] if self.seen else None

    def _check_running(self, expected: Sighting) -> None:
        if self._end:
            raise AssertionError(f"{self._end}; expected of {self._component!r} was {expected}")
