"""The embedded default: processes of one machine find each other through a folder. No server, nothing to install."""

from __future__ import annotations

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

# Seconds for which a removed folder counts as an accident: the announcers put it back, and nobody is forgotten.
_GRACE = 1.0


class DirectoryComponentRegistry(ComponentRegistry):
    """One file per instance, in JSON; its process holds the file's lock, and the kernel drops that when it dies.

    A start or a clean stop reaches every watcher within 0.2 s, a death within 1 s. Needs `flock` (Linux, macOS, BSD),
    and a file system of this machine: not every network file system passes locks on.

    One object may serve several meshes, on one or several event loops; all share one thread that looks at the folder.
    A process that is forked without running a new program announces nothing and must make a registry of its own.

    Args:
        path: the folder, made (for this user alone) if it is not there. None: `$XDG_RUNTIME_DIR/meshcore`, or
            `meshcore-<uid>` in the temporary folder where there is no login session. Who may write there may announce.
    """

    scheme: ClassVar[str] = "directory"
    reaches_other_machines: ClassVar[bool] = False

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._folder = InstanceFolder(path)
        self._lock = Lock()
        self._looking = Lock()  # two looks at once might publish the older view last
        self._users = 0
        self._announced: set[LockFile] = set()
        self._sightings = Sightings()
        self._scanner: Scanner | None = None
        # Of the scanner's thread alone, but for a look of `instances`, which may only be as good.
        self._seen = float("-inf")
        self._broken = False

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`directory:///some/path`, or `directory:` for the default folder."""
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.netloc or parts.query or parts.fragment or (path and not os.path.isabs(path)):  # noqa: PTH117
            raise ValueError(
                "directory: takes an absolute path, as in directory:///some/path, or nothing; "
                f"got {without_secrets(url)!r}"
            )
        return cls(path or None)

    async def __aenter__(self) -> Self:
        """Start to look at the folder, unless another user of this object has."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._sightings = Sightings()
                self._scanner = Scanner(self._folder.path, self._look)
                self._scanner.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it, if this was the last user."""
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
            # Who still watches, by mistake, must not take silence for "nothing changed".
            sightings.fail(CommunicationError(Code.UNAVAILABLE, f"{self} was left"))

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
        """Full snapshots of a component's instances."""
        self._require_running()
        return self._sightings.follow(component)

    async def instances(self) -> Snapshot:
        """All that is announced at the moment, by component; also outside of `async with`."""
        try:
            return await run_sync(self._scan)
        except OSError as error:
            raise self._unusable(error, "nobody can be found") from error

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

    # What follows runs in worker threads.

    def _place(self, file: LockFile) -> None:
        self._folder.prepare()
        file.place()
        # So that watchers of this object know it before the announcer goes on; others learn it by a file event.
        self._look()

    def _scan(self) -> Snapshot:
        try:
            found = self._folder.scan()
        except FileNotFoundError:
            if time.monotonic() < self._seen + _GRACE:
                raise
            self._folder.prepare()
            found = self._folder.scan()
        self._seen = time.monotonic()
        return found

    def _look(self) -> None:
        with self._looking:
            self._restore()
            try:
                found = self._scan()
            except Exception as error:  # noqa: BLE001 - whatever it is, watchers must not take it for "nothing changed"
                self._sightings.fail(self._unusable(error, "nobody can be found"))
            else:
                self._sightings.publish(found)

    def _restore(self) -> None:
        """Announce again what somebody deleted."""
        with self._lock:
            announced = tuple(self._announced)
        if not announced:
            return
        try:
            self._folder.prepare()
            if restored := sum(file.restore() for file in announced):
                _logger.warning("%s: %d of our files had been deleted and are there again", self._folder.path, restored)
            self._broken = False
        except OSError as error:
            if not self._broken:
                _logger.warning("%s", self._unusable(error, "instances may be invisible").message)
            self._broken = True
