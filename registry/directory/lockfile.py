"""Files that show that a process lives: the kernel releases their locks when the process dies."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from .trust import file_objection

PLACED = ".json"
UNPLACED = ".tmp"

_MADE = re.compile(rf"\.[0-9a-f]{{16}}({re.escape(PLACED)}|{re.escape(UNPLACED)})$")

_MAX_STEM = 100  # characters; a file name has at most 255 bytes
_MAX_SIZE = 1024 * 1024  # bytes; an instance takes a few hundred, so a larger file is not ours

# Held while a file is opened, and during `fork`: so no child inherits a file that is not yet in `_HELD`.
_FORKING = Lock()
_HELD: set[LockFile] = set()


class LockFile:
    """One file in a folder, which exists and is locked from `place` until `withdraw` or the death of the process.

    It is written and locked under a temporary name, and then renamed: a file under a final name is complete and locked.
    Each file gets a name that was never used before, so removing the file of a dead process by name cannot hit that of
    a live one. Thread-safe. After `withdraw`, `place` does nothing.
    """

    def __init__(self, directory: Path, label: str, content: bytes) -> None:
        self._directory = directory
        self._stem = re.sub(r"[^A-Za-z0-9._-]+", "_", label)[:_MAX_STEM]  # for people; it is never parsed
        self._content = content
        self._path: Path | None = None
        self._file: int | None = None
        self._withdrawn = False
        self._lock = Lock()

    def place(self) -> None:
        """Make the file.

        Raises:
            OSError: it cannot be made.
        """
        with self._lock:
            if not self._withdrawn:
                self._place()

    def restore(self) -> bool:
        """Make the file again if it was deleted, as cleaners of temporary folders do. Returns whether it was.

        Raises:
            OSError: it cannot be made. The next call retries.
        """
        with self._lock:
            if self._withdrawn or self._path is None or self._path.exists():
                return False
            self._release()
            self._place()
            return True

    def withdraw(self) -> None:
        """Remove the file. Not a coroutine, since that could be cancelled. It blocks for two system calls only."""
        with self._lock:
            self._withdrawn = True
            if self._file is not None and self._path is not None:
                # If it cannot be removed: without its lock the file counts as one of a dead process.
                with suppress(OSError):
                    self._path.unlink()
            self._release()

    def _place(self) -> None:
        name = f"{self._stem}.{secrets.token_hex(8)}"
        temporary = self._directory / (name + UNPLACED)
        with _FORKING:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _mode())
            self._file = file
            _HELD.add(self)
        self._path = self._directory / (name + PLACED)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            with open(file, "wb", closefd=False) as stream:
                stream.write(self._content)
            temporary.rename(self._path)
        except BaseException:
            self._release()
            with suppress(OSError):
                temporary.unlink()
            raise

    def _release(self) -> None:
        with _FORKING:
            _HELD.discard(self)
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def disown(self) -> None:
        """Leave the file to the parent process. Called in a forked child, which has one thread only."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._lock = Lock()  # a thread of the parent may have held the old one
        self._withdrawn = True


def _mode() -> int:
    """Return the mode of a new file.

    Who can open a file can lock it, and so let a dead process look alive. The files of root count for all users, so all
    have to read them. Those of another user count for that user only.
    """
    return 0o600 if os.geteuid() else 0o644


def is_generated(name: str) -> bool:
    """Return whether a name is one that `LockFile` makes. Files with other names must not be removed."""
    return _MADE.search(name) is not None


class Found(NamedTuple):
    """The content of a file, and whether a live process holds its lock."""

    content: bytes
    locked: bool


def read_locked(folder: int, name: str) -> Found:
    """Read a file of an open folder, and its lock.

    The lock is tried as a shared one: two processes that try at the same time do not take each other for the holder.

    Raises:
        ValueError: the file was not made by `LockFile`, or by another user.
        OSError: it cannot be opened.
    """
    # Others may write to the folder: a pipe must not block, and a link must not lead elsewhere.
    file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(file)
        if reason := file_objection(status):
            raise ValueError(reason)
        if status.st_size > _MAX_SIZE:
            raise ValueError(f"it has {status.st_size} bytes")
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            locked = False
        except BlockingIOError:
            locked = True
        return Found(os.read(file, status.st_size), locked)
    finally:
        os.close(file)


def _after_fork_in_child() -> None:
    # A lock lasts until all processes that inherited the file have closed it. Without this, a forked child that runs no
    # new program would keep the lock after the death of its parent.
    for held in tuple(_HELD):
        held.disown()
    _HELD.clear()
    _FORKING.release()


# On import: of hooks that are added during a fork in another thread, some would run and some not.
os.register_at_fork(before=_FORKING.acquire, after_in_parent=_FORKING.release, after_in_child=_after_fork_in_child)
