"""The folder of the directory registry: one lock file per instance."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from meshcore.core.instances import Instance

from ..snapshot import Snapshot, snapshot_of
from .lockfile import PLACED, UNPLACED, LockFile, is_generated, read_locked
from .trust import folder_objection

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from .continuity import FolderId

_logger = logging.getLogger(__name__)

# The errors of opening a file that is not ours: of another user, a link, a socket. With any other error, such as too
# many open files, nothing is known about the instances, and the folder must not look empty.
_FOREIGN = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO})

_LEFTOVER_AGE = 60.0  # seconds; a file has its temporary name for less than a millisecond

# Seconds. A folder may hold thousands of files that are not ours. It is listed again only when its time of change is
# another one, and from time to time, as not every file system keeps that time well. Files that were found to announce
# nothing are opened again from time to time only: no name is used twice, but somebody may mend the rights of a file.
_LISTED_FOR = 5.0
_LOOK_AGAIN = 30.0
_CLOCK_STEP = 2.0  # of the coarsest clocks of file systems; changes within one step leave the same time

_MOST_WARNINGS = 20


class Listing(NamedTuple):
    """What a folder contains, and which folder it is."""

    folder: FolderId
    instances: Snapshot


class InstanceFolder:
    """Reads a folder, and removes files of dead processes from it. Every process that uses the folder does that.

    A folder that other users own or can write is not used, since they could announce instances there. Only in a folder
    that was named may others have files, if its sticky bit is set, as that of /tmp is. Their files do not count.

    Args:
        path: the folder. None: the default folder, which is for one user only.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = (_own_folder() if path is None else Path(path)).absolute()
        self._named = path is not None
        self._listed: tuple[FolderId, int] | None = None  # the folder that was listed last, and its time of change
        self._listed_until = 0.0
        self._names: list[str] = []  # of the files that may announce an instance
        self._ignored: set[str] = set()  # those that do not
        self._look_again_at = 0.0
        self._warnings = 0

    def prepare(self) -> None:
        """Make the folder if there is none. Only processes that announce do that.

        Raises:
            OSError: it cannot be made, or other users own it or can write to it.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._opened():
            pass

    def file_for(self, instance: Instance) -> LockFile:
        """Return the file that announces an instance. It does not exist before `LockFile.place`."""
        return LockFile(self.path, f"{instance.component}.{instance.id}", msgspec.json.encode(instance))

    def scan(self) -> Listing:
        """Return all instances whose processes live. Not thread-safe.

        Raises:
            OSError: the folder cannot be read, or other users own it or can write to it.
        """
        with self._opened() as folder:
            status = os.fstat(folder)
            found = (status.st_dev, status.st_ino)
            now = time.monotonic()
            if (found, status.st_mtime_ns) != self._listed or now >= self._listed_until:
                # By the wall clock, as its time is. The time was read before the names: a later change is another time.
                settled = time.time() - status.st_mtime > _CLOCK_STEP
                self._list(folder, now)
                self._listed = (found, status.st_mtime_ns)
                self._listed_until = now + _LISTED_FOR if settled else now
            return Listing(found, snapshot_of(self._living(folder)))

    def _list(self, folder: int, now: float) -> None:
        names = {name for name in os.listdir(folder) if is_generated(name)}
        _remove_leftovers(folder, names)
        self._ignored &= names
        if not self._ignored:
            self._warnings = 0
        again = now >= self._look_again_at
        if again:
            self._look_again_at = now + _LOOK_AGAIN
        self._names = sorted(name for name in names if name.endswith(PLACED) and (again or name not in self._ignored))

    @contextmanager
    def _opened(self) -> Generator[int]:
        """Open the folder, so that what is checked is what is read: its name may lead elsewhere a moment later."""
        # Anybody can make a folder or a link with the default name in a shared temporary folder.
        unlinked = 0 if self._named else os.O_NOFOLLOW
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | unlinked)
        try:
            if reason := folder_objection(os.fstat(folder), str(self.path), shared=self._named):
                raise PermissionError(errno.EPERM, reason)
            yield folder
        finally:
            os.close(folder)

    def _living(self, folder: int) -> list[Instance]:
        found: dict[str, Instance] = {}
        for name in self._names:
            if instance := self._read(folder, name):
                found[name] = instance
        self._ignored.update(self._names)
        self._ignored.difference_update(found)
        self._names = list(found)
        return list(found.values())

    def _read(self, folder: int, name: str) -> Instance | None:
        """Return the instance of a file; None if there is none and never will be, as the file is now."""
        try:
            found = read_locked(folder, name)
            instance = msgspec.json.decode(found.content, type=Instance)
        except FileNotFoundError:
            return None  # withdrawn since the folder was listed
        except OSError as error:
            if error.errno not in _FOREIGN:
                raise
            self._warn(name, error)
            return None
        except (ValueError, RecursionError) as error:
            self._warn(name, error)
            return None
        if found.locked:
            return instance
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        return None

    def _warn(self, name: str, error: Exception) -> None:
        """Log once that a file is ignored, for the first ones."""
        if name in self._ignored:
            return
        self._warnings += 1
        if self._warnings <= _MOST_WARNINGS:
            _logger.warning("%s is ignored, since it announces no instance: %s", self.path / name, error)
        elif self._warnings == _MOST_WARNINGS + 1:
            _logger.warning("%s has more files that announce no instance; they are ignored, too", self.path)


def _remove_leftovers(folder: int, names: Collection[str]) -> None:
    """Remove the temporary files, of those with generated names, of processes that died while they announced."""
    for name in names:
        if name.endswith(UNPLACED):
            with suppress(OSError):
                # By age, not by lock: a young file may not be locked yet. By the wall clock, as its time is.
                if time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime > _LEFTOVER_AGE:
                    os.unlink(name, dir_fd=folder)


def _own_folder() -> Path:
    """Return `meshcore` in the runtime folder of the session, or `meshcore-<uid>` in the temporary folder."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and runtime.is_dir():
        return runtime / "meshcore"
    return Path(tempfile.gettempdir()) / f"meshcore-{os.geteuid()}"
