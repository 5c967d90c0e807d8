"""The folder of the directory registry: one lock file per instance."""

from __future__ import annotations

import errno
import logging
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meshcore.core.instances import Instance

from ..snapshot import Snapshot, snapshot_of
from .lockfile import PLACED, UNPLACED, LockFile, is_generated, read_locked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_logger = logging.getLogger(__name__)

# The errors of opening a file that is not ours: of another user, a link, a socket. With any other error, such as too
# many open files, nothing is known about the instances, and the folder must not look empty.
_FOREIGN = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO})

_LEFTOVER_AGE = 60.0  # seconds; a file has its temporary name for less than a millisecond


class InstanceFolder:
    """Reads a folder, and removes files of dead processes from it. Every process that uses the folder does that.

    Args:
        path: the folder. None: the default folder, which must belong to the user.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = (_own_folder() if path is None else Path(path)).absolute()
        self._private = path is None
        self._warned: set[str] = set()

    def prepare(self) -> None:
        """Make the folder if there is none.

        Raises:
            OSError: it cannot be made, or belongs to another user.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check()

    def file_for(self, instance: Instance) -> LockFile:
        """Return the file that announces an instance. It does not exist before `LockFile.place`."""
        return LockFile(self.path, f"{instance.component}.{instance.id}", msgspec.json.encode(instance))

    def scan(self) -> Snapshot:
        """Return all instances whose processes live.

        Raises:
            OSError: the folder cannot be read.
        """
        self._check()
        names = sorted(os.listdir(self.path))  # noqa: PTH208 - only names are needed
        self._warned.intersection_update(names)
        self._remove_leftovers(names)
        return snapshot_of(self._living(names))

    def _check(self) -> None:
        """Refuse a default folder of another user: anybody can make one in a shared temporary folder."""
        if self._private:
            status = self.path.lstat()
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if status.st_uid != os.geteuid():
                reason = f"it belongs to user {status.st_uid}, and this process runs as user {os.geteuid()}"
                raise PermissionError(errno.EPERM, reason)

    def _living(self, names: Collection[str]) -> Iterator[Instance]:
        for name in names:
            if name.endswith(PLACED) and (instance := self._read(name)):
                yield instance

    def _read(self, name: str) -> Instance | None:
        path = self.path / name
        try:
            found = read_locked(path)
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
        if is_generated(name):  # otherwise it is a copy that somebody keeps
            with suppress(OSError):
                path.unlink()
        return None

    def _remove_leftovers(self, names: Collection[str]) -> None:
        """Remove the temporary files of processes that died while they announced. Other files stay."""
        for name in names:
            if name.endswith(UNPLACED) and is_generated(name):
                path = self.path / name
                with suppress(OSError):
                    # By age, not by lock: a young file may not be locked yet. By the wall clock, as its time is.
                    if time.time() - path.stat().st_mtime > _LEFTOVER_AGE:
                        path.unlink()

    def _warn(self, name: str, error: Exception) -> None:
        """Log once that a file is ignored."""
        if name not in self._warned:
            self._warned.add(name)
            _logger.warning("%s is ignored, since it announces no instance: %s", self.path / name, error)


def _own_folder() -> Path:
    """Return `meshcore` in the runtime folder of the session, or `meshcore-<uid>` in the temporary folder."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and runtime.is_dir():
        return runtime / "meshcore"
    return Path(tempfile.gettempdir()) / f"meshcore-{os.geteuid()}"
