"""The default registry: processes on one machine find each other through a folder. It needs no server."""

from __future__ import annotations

import errno
import logging
import os
import time
from contextlib import asynccontextmanager
from threading import Lock
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote, urlsplit

import anyio
from anyio.to_thread import run_sync

from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.core.masking import without_secrets
from meshcore.ports.registry import ComponentRegistry

from ..sightings import Sightings
from .continuity import Continuity
from .folder import InstanceFolder
from .scanner import Scanner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import Self

    from meshcore.core.instances import Instance, Sighting

    from ..snapshot import Snapshot
    from .lockfile import LockFile

_logger = logging.getLogger(__name__)


class DirectoryComponentRegistry(ComponentRegistry):
    """Keeps one JSON file per instance. Its process holds the lock of the file, which the kernel releases at its death.

    Watches see a start or a clean stop within 0.2 s, and a death within 1 s. The registry needs `flock` (Linux, macOS,
    BSD) and a local file system: not every network file system supports locks.

    One object may serve several meshes, on one or several event loops. They share one thread that reads the folder. A
    forked process that runs no new program announces nothing, and must make its own registry.

    Args:
        path: the folder. The first process that announces makes it, for its user only. None:
            `$XDG_RUNTIME_DIR/meshcore`, or `meshcore-<uid>` in the temporary folder without a login session. The folder
            must belong to this user or to root, and nobody else may be able to write to it. Files of others do not
            count.
    """

    scheme: ClassVar[str] = "directory"
    reaches_other_machines: ClassVar[bool] = False

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._folder = InstanceFolder(path)
        self._lock = Lock()
        self._reading = Lock()  # two reads at the same time could publish the older one last
        self._users = 0
        self._announced: set[LockFile] = set()
        self._sightings = Sightings()
        self._scanner: Scanner | None = None
        self._continuity = Continuity()  # used under `_reading`
        self._warned = False

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make a registry from `directory:///some/path`, or from `directory:` for the default folder."""
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.netloc or parts.query or parts.fragment or (path and not os.path.isabs(path)):  # noqa: PTH117
            raise ValueError(
                "directory: takes an absolute path, as in directory:///some/path, or nothing; "
                f"got {without_secrets(url)!r}"
            )
        return cls(path or None)

    async def __aenter__(self) -> Self:
        """Start to read the folder, unless another user of this object has."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._sightings = Sightings()
                self._scanner = Scanner(self._folder.path, self._read)
                self._scanner.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop to read the folder, if this was the last user."""
        with self._lock:
            self._users -= 1
            if self._users or self._scanner is None:
                return
            scanner, self._scanner, sightings = self._scanner, None, self._sightings
        scanner.stop()
        try:
            with anyio.CancelScope(shield=True):
                await run_sync(scanner.join)
        finally:
            # A watch that is still open must not mistake silence for "nothing changed".
            sightings.fail(CommunicationError(Code.UNAVAILABLE, f"{self} was closed"))

    @asynccontextmanager
    async def announce(self, instance: Instance) -> AsyncGenerator[None, None]:
        """Announce an instance while the context lasts."""
        self._require_running()
        file = self._folder.file_for(instance)
        try:
            try:
                await run_sync(self._place, file)
            except OSError as error:
                raise self._unusable(
                    error, f"instance {instance.id} of {instance.component} cannot be announced"
                ) from error
            with self._lock:
                self._announced.add(file)
            yield
        finally:
            with self._lock:
                self._announced.discard(file)
            file.withdraw()

    def watch(self, component: str) -> AsyncGenerator[Sighting, None]:
        """Yield sightings of a component, each with all of its instances."""
        self._require_running()
        return self._sightings.follow(component)

    async def instances(self) -> Snapshot:
        """Return all instances that are announced now, by component. Works outside of `async with`, too."""
        try:
            return await run_sync(self._list)
        except OSError as error:
            raise self._unusable(error, "no instance can be found") from error

    def _require_running(self) -> None:
        if not self._users:
            raise LocalError(Code.FAILED_PRECONDITION, f"{self} is not running; enter it with `async with` first")

    def _unusable(self, error: Exception, consequence: str) -> CommunicationError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return CommunicationError(
            Code.UNAVAILABLE, f"{consequence}: the registry's folder {self._folder.path} cannot be used: {reason}"
        )

    def __repr__(self) -> str:
        return f"DirectoryComponentRegistry({str(self._folder.path)!r})"

    # The methods below run in worker threads.

    def _place(self, file: LockFile) -> None:
        self._folder.prepare()
        file.place()
        # Watches of this object see the instance before `announce` goes on. Others get a file event.
        self._read()

    def _list(self) -> Snapshot:
        with self._reading:
            return self._scan()

    def _scan(self) -> Snapshot:
        try:
            folder, found = self._folder.scan()
        except FileNotFoundError:
            if self._continuity.removed():
                raise
            return {}
        if reason := self._continuity.doubt(folder, found, time.monotonic()):
            raise FileNotFoundError(errno.ENOENT, reason)
        return found

    def _read(self) -> None:
        with self._reading:
            self._restore()
            try:
                found = self._scan()
            except Exception as error:  # noqa: BLE001 - of any error: silence would look like "nothing changed"
                self._sightings.fail(self._unusable(error, "no instance can be found"))
            else:
                self._sightings.publish(found)

    def _restore(self) -> None:
        """Make deleted files of this process again."""
        with self._lock:
            announced = tuple(self._announced)
        if not announced:
            return
        try:
            self._folder.prepare()
            if restored := sum(file.restore() for file in announced):
                _logger.warning(
                    "%s: %d files of this process were deleted and are restored", self._folder.path, restored
                )
            self._warned = False
        except OSError as error:
            if not self._warned:
                _logger.warning("%s", self._unusable(error, "clients may not find the instances").message)
            self._warned = True
