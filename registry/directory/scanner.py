"""The thread that reads a folder: after file events, and four times a second, since a death causes no event."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

# The documented access to the backend. `watchfiles.watch` starts to watch at its first wait only, so a change between
# the first read and that wait would be seen late.
from watchfiles._rust_notify import RustNotify

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

_logger = logging.getLogger(__name__)

# A read takes 0.2 ms for 10 instances, 1.2 ms for 100 and 12 ms for 1000 (CPython 3.13, a virtual machine of two cores,
# ext4), most of it system calls. Four reads a second, and the steps, take 0.2 %, 0.7 % and 7 % of a core. 10,000 other
# files add 0.5 %.
#
# Milliseconds. A file event is seen after one to two steps. A death is seen after at most one interval and a read. The
# promise is a second, which leaves enough time on a machine under load.
_STEP = 20
_DEBOUNCE = 50
_INTERVAL = 250
_INTERVAL_WITHOUT_EVENTS = 0.1  # seconds


class Scanner:
    """Calls a function in a thread of its own, so that reads block no event loop and serve the meshes of all.

    Args:
        path: the folder to watch.
        read: called at the start, after file events and at intervals. It must not raise.
    """

    def __init__(self, path: Path, read: Callable[[], None]) -> None:
        self._path = path
        self._read = read
        self._stop = threading.Event()
        self._without_events = False
        self._thread = threading.Thread(target=self._run, name=f"meshcore registry {path}")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the thread to end, which it does within a step."""
        self._stop.set()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _wanted(self) -> bool:
        # The interpreter waits for this thread at exit. A program that never closed the registry must still exit.
        return not self._stop.is_set() and threading.main_thread().is_alive()

    def _run(self) -> None:
        while self._wanted():
            try:
                self._follow()
            except (FileNotFoundError, NotADirectoryError):  # `read` reports it
                self._wait_without_events()
            except (OSError, RuntimeError) as error:
                # Mostly because no inotify instance is left (fs.inotify.max_user_instances, 128 per user by default).
                if not self._without_events:
                    self._without_events = True
                    _logger.warning("%s is watched without file events: %s", self._path, error)
                self._wait_without_events()

    def _follow(self) -> None:
        """Read after each event, until the path names another folder.

        Raises:
            OSError: there is no such folder, or no file events for it.
            RuntimeError: the backend failed.
        """
        with _opened(self._path) as folder, RustNotify([str(self._path)], False, False, 0, False, False) as events:  # noqa: FBT003 - its only signature
            self._without_events = False
            self._read()
            # Events belong to the folder, not to its name. While it is open, no other folder can have its inode number.
            while self._wanted() and os.path.samestat(os.fstat(folder), self._path.stat()):
                events.watch(_DEBOUNCE, _STEP, _INTERVAL, self._stop)
                self._read()

    def _wait_without_events(self) -> None:
        self._read()
        self._stop.wait(_INTERVAL_WITHOUT_EVENTS)


@contextmanager
def _opened(path: Path) -> Generator[int, None, None]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)
