"""The registry of one process: for tests, and for meshes that live side by side in one program."""

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
    """Shared by handing the same object to several meshes, which may run on different event loops and threads.

    Two objects know nothing of each other, so under the setting `local:` each mesh sees only itself.
    """

    scheme: ClassVar[str] = "local"
    reaches_other_machines: ClassVar[bool] = False

    def __init__(self) -> None:
        # A list, as one instance may be announced twice and stays until it is withdrawn twice.
        self._announced: list[Instance] = []
        # Keeps changing the list and publishing it together; held for microseconds, so an event loop may take it.
        self._lock = Lock()
        self._sightings = Sightings()
        self._sightings.publish({})

    @asynccontextmanager
    async def announce(self, instance: Instance) -> AsyncGenerator[None, None]:
        """Announce an instance; its watchers are woken at once."""
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
        """Full snapshots of a component's instances."""
        return self._sightings.follow(component)

    async def instances(self) -> Snapshot:
        """All that is announced at the moment, by component."""
        with self._lock:
            return snapshot_of(self._announced)
