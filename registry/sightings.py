"""The newest view of all components, and the watchers that wait for the next one: what registries share."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from meshcore.core.instances import Absent, Failed, Instance, Sighting, sighting_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


class Sightings:
    """Holds one full view, replaces it as a whole, and wakes the watchers of the components that changed.

    A view is published from any thread, and followed on any number of event loops. Nothing is queued: a watcher
    that is woken reads what is the newest by then, so a slow one skips what is outdated and nothing piles up.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._view: Mapping[str, Sighting] = {}
        self._otherwise: Sighting | None = None  # for components that are not in the view; None: nothing known yet
        self._watchers: defaultdict[str, set[_Watcher]] = defaultdict(set)

    def publish(self, instances: Mapping[str, tuple[Instance, ...]]) -> None:
        """Take over a full view of all components that the registry vouches for."""
        self._replace({component: sighting_of(found) for component, found in instances.items()}, Absent())

    def fail(self, cause: Exception) -> None:
        """The registry cannot tell at the moment. The same cause again is no news."""
        match self._otherwise:
            case Failed(known) if type(known) is type(cause) and str(known) == str(cause):
                return
            case _:
                self._replace({}, Failed(cause))

    async def follow(self, component: str) -> AsyncGenerator[Sighting, None]:
        """What `ComponentRegistry.watch` promises."""
        watcher = _Watcher()
        with self._lock:
            self._watchers[component].add(watcher)
        try:
            seen: Sighting | None = None
            while True:
                # Cleared before looking: what is published after the look wakes us again.
                watcher.changed.clear()
                newest = self._sighting(component)
                if newest is None or newest == seen:
                    await watcher.changed.wait()
                else:
                    seen = newest
                    yield newest
        finally:
            with self._lock:
                self._watchers[component].discard(watcher)
                if not self._watchers[component]:
                    del self._watchers[component]

    def _sighting(self, component: str) -> Sighting | None:
        with self._lock:
            return self._view.get(component, self._otherwise)

    def _replace(self, view: Mapping[str, Sighting], otherwise: Sighting) -> None:
        with self._lock:
            old_view, old_otherwise = self._view, self._otherwise
            self._view, self._otherwise = view, otherwise
            for component, watchers in self._watchers.items():
                if view.get(component, otherwise) != old_view.get(component, old_otherwise):
                    for watcher in watchers:
                        watcher.wake()


class _Watcher:
    """One `follow`, reached from other threads."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        # A loop that was closed over a watch left open has nobody to wake.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.changed.set)
