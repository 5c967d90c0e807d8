"""The thread that looks at a folder: when files come or go, and several times a second, as a death makes no event."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

# The documented access to the backend: `watchfiles.watch` starts its events only when it is first waited for, and what
# changes between a first look and that moment would be seen late.
from watchfiles._rust_notify import RustNotify

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

_logger = logging.getLogger(__name__)

# One look costs (CPython 3.13, a virtual machine of two cores, ext4): 10 instances 0.2 ms, 100 instances 1.2 ms, 1000
# instances 12 ms, most of it system calls; four a second plus the steps take 0.2 %, 0.7 % and 7 % of a core.
#
# Milliseconds. A file event is seen after one to two steps; a death after at most one interval (and a scan), which
# leaves plenty of the second that is promised to a machine under load.
_STEP = 20
_DEBOUNCE = 50
_INTERVAL = 250
_INTERVAL_WITHOUT_EVENTS = 0.1  # seconds


class Scanner:
    """A thread of its own, so that looking costs no event loop its time and serves meshes on any of them.

    Args:
        path: the folder to watch.
        look: called in the thread, at first at once; raises nothing.
    """

    def __init__(self, path: Path, look: Callable[[], None]) -> None:
        self._path = path
        self._look = look
        self._stop = threading.Event()
        self._deaf = False
        self._thread = threading.Thread(target=self._run, name=f"meshcore registry {path}")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End within a step; returns at once."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def _wanted(self) -> bool:
        # The interpreter waits for this thread when it exits: a program that never left the registry must still end.
        return not self._stop.is_set() and threading.main_thread().is_alive()

    def _run(self) -> None:
        while self._wanted():
            try:
                self._follow()
            except (FileNotFoundError, NotADirectoryError):  # whoever looks at the folder itself says so
                self._wait_without_events()
            except (OSError, RuntimeError) as error:
                # Mostly no inotify instance left (fs.inotify.max_user_instances, 128 per user by default).
                if not self._deaf:
                    self._deaf = True
                    _logger.warning("%s is looked at without file events: %s", self._path, error)
                self._wait_without_events()

    def _follow(self) -> None:
        """Look at each event until the folder is another one.

        Raises:
            OSError: there is no such folder, or there are no events of it.
            RuntimeError: the backend failed.
        """
        with _opened(self._path) as folder, RustNotify([str(self._path)], False, False, 0, False, False) as events:  # noqa: FBT003 - its only signature
            self._deaf = False
            self._look()
            # Events follow the folder, not its name. As long as it is open, no other one can have its number.
            while self._wanted() and os.path.samestat(os.fstat(folder), self._path.stat()):
                events.watch(_DEBOUNCE, _STEP, _INTERVAL, self._stop)
                self._look()

    def _wait_without_events(self) -> None:
        self._look()
        self._stop.wait(_INTERVAL_WITHOUT_EVENTS)


@contextmanager
def _opened(path: Path) -> Generator[int, None, None]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)
