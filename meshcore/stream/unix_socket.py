"""The unix socket of a server: announced as its file, which tells a client whether it sees that same socket."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""Linux only. Elsewhere the file has to be enough."""


def announced_socket(path: str) -> str:
    """What a server announces of its socket: `PATH#FILE`, empty if there is no socket at the path."""
    path = str(Path(path).absolute())
    file = _identity(path)
    return f"{path}#{file}" if file else ""


def path_here(announced: str) -> str:
    """The path of the socket, empty if this process does not see it.

    Another machine or container may have the same host name, and a socket of another server at the same path. So the
    running kernel, the device, the inode and the time at which the file was made have to be the same.
    """
    path, _, file = announced.rpartition("#")
    return path if path and file and _identity(path) == file else ""


def path_of(announced: str) -> str:
    """The path, whoever sees it."""
    return announced.rpartition("#")[0]


def _identity(path: str) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116 - a path may be too long, or hold a null byte
    except (OSError, ValueError):
        return ""
    if not stat.S_ISSOCK(found.st_mode):
        return ""
    boot = ""
    with suppress(OSError):
        boot = _BOOT_ID.read_text()[:8]
    return f"{boot}-{found.st_dev:x}-{found.st_ino:x}-{found.st_mtime_ns:x}"
