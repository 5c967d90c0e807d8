"""The newest sightings of all components, and the watches that wait for the next ones. Registries use it."""

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
    """Holds the sightings of all components, replaces them together, and wakes the watches of those that changed.

    Any thread may publish. Watches may run on any number of event loops. Nothing is queued: a watch that wakes reads
    the newest sighting, so a slow one skips outdated sightings.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._view: Mapping[str, Sighting] = {}
        self._otherwise: Sighting | None = None  # of components that are not in the view; None before the first
        self._watchers: defaultdict[str, set[_Watcher]] = defaultdict(set)

    def publish(self, instances: Mapping[str, tuple[Instance, ...]]) -> None:
        """Publish the instances of all components. Components that are not among them are absent."""
        self._replace({component: sighting_of(found) for component, found in instances.items()}, Absent())

    def fail(self, cause: Exception) -> None:
        """Publish that the registry cannot be read. The same cause is not published twice in a row."""
        match self._otherwise:
            case Failed(known) if type(known) is type(cause) and str(known) == str(cause):
                return
            case _:
                self._replace({}, Failed(cause))

    async def follow(self, component: str) -> AsyncGenerator[Sighting, None]:
        """Yield sightings, as `ComponentRegistry.watch` does."""
        watcher = _Watcher()
        with self._lock:
            self._watchers[component].add(watcher)
        try:
            seen: Sighting | None = None
            while True:
                # Before the sighting is read: what is published after that sets it again.
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
    """Wakes one watch, from any thread."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        # The loop may be closed, if the watch was left open.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.changed.set)
