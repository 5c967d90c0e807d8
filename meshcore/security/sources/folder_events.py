"""Waits for changes of files: for file events where the system tells of them, else for an interval."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# `watchfiles.watch` starts to watch at its first wait only, so a change before that wait would be seen late.
from watchfiles._rust_notify import RustNotify

log = logging.getLogger(__name__)

# Milliseconds. Files of one set are written one after the other. The wait after an event lets most sets be complete.
_STEP: Final = 20
_DEBOUNCE: Final = 100


class FolderEvents:
    """Waits in a thread until a folder changes, or for the interval.

    Not every change causes an event: file systems over the network tell of none, and links may lead elsewhere.

    Args:
        folders: in which files change. They need not exist.
        interval: seconds of the longest wait.
    """

    def __init__(self, folders: Iterable[Path], interval: float) -> None:
        self._folders = sorted({str(each) for each in folders})
        self._interval = interval
        self._stop = threading.Event()
        self._events: RustNotify | None = None
        self._watched: tuple[tuple[int, int], ...] = ()
        self._told = False

    def wait(self) -> None:
        """Block until something may have changed."""
        watched = self._identities()
        if watched and self._events is not None and watched == self._watched:
            try:
                self._events.watch(_DEBOUNCE, _STEP, int(self._interval * 1000), self._stop)
            except (OSError, RuntimeError) as error:
                self._events = None
                self._tell(error)
            else:
                return
        elif watched and self._open():
            self._watched = watched
            return  # what has changed before caused no event
        self._stop.wait(self._interval)

    def stop(self) -> None:
        """End the wait, and all that come. From any thread."""
        self._stop.set()

    def _open(self) -> bool:
        try:
            # Not recursive, without polling, and without a debug log.
            self._events = RustNotify(self._folders, False, False, 0, False, False)  # noqa: FBT003 - its only signature
        except (OSError, RuntimeError) as error:
            self._events = None
            self._tell(error)
            return False
        return True

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            log.warning(
                "%s: no file events, so files are read every %g s: %s",
                ", ".join(self._folders),
                self._interval,
                error,
            )

    def _identities(self) -> tuple[tuple[int, int], ...]:
        """Which folders they are now: events belong to a folder, not to its name. Empty if one does not exist."""
        try:
            return tuple((status.st_dev, status.st_ino) for status in (Path(each).stat() for each in self._folders))
        except OSError:
            return ()
