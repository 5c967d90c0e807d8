"""The registry of one process: for tests, and for several meshes in one program."""

from __future__ import annotations

from contextlib import asynccontextmanager
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

from meshcore.ports.registry import ComponentRegistry

from .sightings import Sightings
from .snapshot import Snapshot, snapshot_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from meshcore.core.instances import Instance, Sighting


class LocalComponentRegistry(ComponentRegistry):
    """Announces instances to the watches in this process.

    Pass the same object to several meshes, which may run on different event loops and threads. Two objects share
    nothing, so with the setting `local:` each mesh sees only itself.
    """

    scheme: ClassVar[str] = "local"
    reaches_other_machines: ClassVar[bool] = False

    def __init__(self) -> None:
        # A list: an instance that is announced twice stays until both announcements end.
        self._announced: list[Instance] = []
        # Makes a change of the list and its publication one step. Held for microseconds, so an event loop may take it.
        self._lock = Lock()
        self._sightings = Sightings()
        self._sightings.publish({})

    @asynccontextmanager
    async def announce(self, instance: Instance) -> AsyncGenerator[None, None]:
        """Announce an instance while the context lasts."""
        with self._lock:
            self._announced.append(instance)
            self._sightings.publish(snapshot_of(self._announced))
        try:
            yield
        finally:
            with self._lock:
                self._announced.remove(instance)
                self._sightings.publish(snapshot_of(self._announced))

    def watch(self, component: str) -> AsyncGenerator[Sighting, None]:
        """Yield sightings of a component, each with all of its instances."""
        return self._sightings.follow(component)

    async def instances(self) -> Snapshot:
        """Return all instances that are announced now, by component."""
        with self._lock:
            return snapshot_of(self._announced)
