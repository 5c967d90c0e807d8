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
from .lockfile import PLACED, UNPLACED, LockFile, look_at, named_here

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_logger = logging.getLogger(__name__)

# What opening says of a file that is not ours: another user's, a link, a socket. Anything else (too many open files,
# for one) means that nobody can tell who lives, and must not look like an empty folder.
_FOREIGN = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO})

_LEFTOVER_AGE = 60.0  # seconds; a file has its temporary name for less than a millisecond


class InstanceFolder:
    """Reads a folder and sweeps it: files of dead processes are removed by whoever sees them first.

    Args:
        path: the folder; None for the default, which belongs to the user alone.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = (_own_folder() if path is None else Path(path)).absolute()
        self._private = path is None
        self._complained: set[str] = set()

    def prepare(self) -> None:
        """Make the folder if it is not there.

        Raises:
            OSError: it cannot be made or must not be used.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check()

    def file_for(self, instance: Instance) -> LockFile:
        """The file that announces an instance; not there until it is placed."""
        return LockFile(self.path, f"{instance.component}.{instance.id}", msgspec.json.encode(instance))

    def scan(self) -> Snapshot:
        """All instances that live.

        Raises:
            OSError: the folder cannot be read, so nothing is known.
        """
        self._check()
        names = sorted(os.listdir(self.path))  # noqa: PTH208 - names are what is needed, also to know a file again
        self._complained.intersection_update(names)
        self._sweep(names)
        return snapshot_of(self._living(names))

    def _check(self) -> None:
        """Refuse a default folder that is not the user's own: in a shared temporary folder anybody can make one."""
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
            found = look_at(path)
            instance = msgspec.json.decode(found.content, type=Instance)
        except FileNotFoundError:
            return None  # withdrawn since the folder was listed
        except OSError as error:
            if error.errno not in _FOREIGN:
                raise
            self._pass_over(name, error)
            return None
        except (ValueError, RecursionError) as error:
            self._pass_over(name, error)
            return None
        if found.held:
            return instance
        if named_here(name):  # else it is a copy that somebody keeps
            with suppress(OSError):
                path.unlink()
        return None

    def _sweep(self, names: Collection[str]) -> None:
        """Remove what processes left that died while they announced; the folder may hold files of others."""
        for name in names:
            if name.endswith(UNPLACED) and named_here(name):
                path = self.path / name
                with suppress(OSError):
                    # By age, not by lock, as a young one may be about to be locked. Wall clock, as files have it.
                    if time.time() - path.stat().st_mtime > _LEFTOVER_AGE:
                        path.unlink()

    def _pass_over(self, name: str, error: Exception) -> None:
        """Say once that a file was put there by somebody else, and let it lie."""
        if name not in self._complained:
            self._complained.add(name)
            _logger.warning("%s is passed over, as it announces no instance: %s", self.path / name, error)


def _own_folder() -> Path:
    """`meshcore` in the runtime folder of the login session; without one `meshcore-<uid>` in the temporary folder."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and runtime.is_dir():
        return runtime / "meshcore"
    return Path(tempfile.gettempdir()) / f"meshcore-{os.geteuid()}"
