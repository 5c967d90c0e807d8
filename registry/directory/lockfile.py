"""Files that say that a process lives: the kernel drops the lock of a file when the process that holds it dies."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

PLACED = ".json"
UNPLACED = ".tmp"

_MADE = re.compile(rf"\.[0-9a-f]{{16}}({re.escape(PLACED)}|{re.escape(UNPLACED)})$")

_LONGEST_STEM = 100  # file names end at 255 bytes
_LARGEST = 1024 * 1024  # an instance takes some hundred bytes; what is larger was put there by somebody else

# Taken while a file is opened and by `fork`: no child inherits a file that is not yet in `_HELD`.
_FORKING = Lock()
_HELD: set[LockFile] = set()


class LockFile:
    """One file in a directory, there and locked from `place` until `withdraw`, or until this process dies.

    It is written and locked under a temporary name and then renamed: whoever sees the final name sees a complete,
    locked file. Each placing takes a name that was never used before, so removing a dead file by its name cannot
    hit a living one. Thread-safe; `withdraw` may overtake `place`, which does nothing then.
    """

    def __init__(self, directory: Path, label: str, content: bytes) -> None:
        self._directory = directory
        self._stem = re.sub(r"[^A-Za-z0-9._-]+", "_", label)[:_LONGEST_STEM]  # for people; the truth is the content
        self._content = content
        self._path: Path | None = None
        self._file: int | None = None
        self._withdrawn = False
        self._lock = Lock()

    def place(self) -> None:
        """Make the file.

        Raises:
            OSError: it could not be made.
        """
        with self._lock:
            if not self._withdrawn:
                self._place()

    def restore(self) -> bool:
        """Make the file again if somebody deleted it, as cleaners of temporary folders do; True if it was so.

        Raises:
            OSError: it could not be made; the next call tries again.
        """
        with self._lock:
            if self._withdrawn or self._path is None or self._path.exists():
                return False
            self._release()
            self._place()
            return True

    def withdraw(self) -> None:
        """Remove the file. Two system calls, so an event loop may do it: an `await` could be cancelled."""
        with self._lock:
            self._withdrawn = True
            if self._file is not None and self._path is not None:
                # Whatever hinders the removal: without its lock the file counts as dead, and is swept.
                with suppress(OSError):
                    self._path.unlink()
            self._release()

    def _place(self) -> None:
        name = f"{self._stem}.{secrets.token_hex(8)}"
        temporary = self._directory / (name + UNPLACED)
        with _FORKING:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
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
        """Leave the file to the parent process. Called in a forked child, where only the forking thread is left."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._lock = Lock()  # a thread that the child does not have may have held it
        self._withdrawn = True


def named_here(name: str) -> bool:
    """Whether a file has a name as `LockFile` makes them, placed or not: no other may be removed."""
    return _MADE.search(name) is not None


class Found(NamedTuple):
    """What a look at a file tells.

    Attributes:
        content: all of it.
        held: some process that lives holds the lock.
    """

    content: bytes
    held: bool


def look_at(path: Path) -> Found:
    """Read a file and ask whether it is held.

    The lock is tried as a shared one: two processes that ask at the same time do not take each other for the holder.

    Raises:
        ValueError: it is no file that `LockFile` made.
        OSError: it cannot be opened.
    """
    # A pipe would block, a link would lead elsewhere: both may lie in a folder that others write to.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if status.st_size > _LARGEST:
            raise ValueError(f"it has {status.st_size} bytes")
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            held = False
        except BlockingIOError:
            held = True
        return Found(os.read(file, status.st_size), held)
    finally:
        os.close(file)


def _after_fork_in_child() -> None:
    # A lock lasts until every process that inherited the file has closed it: without this, a child that is forked
    # (and runs no new program, which would close it) keeps its dead parent alive.
    for held in tuple(_HELD):
        held.disown()
    _HELD.clear()
    _FORKING.release()


# On import, as a hook that is added while another thread forks would run by half. It does nothing until a file is held.
os.register_at_fork(before=_FORKING.acquire, after_in_parent=_FORKING.release, after_in_child=_after_fork_in_child)
