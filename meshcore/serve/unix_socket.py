"""The unix socket at which a server listens besides its port: bound, announced, and removed at the end."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from meshcore.core.errors import Code, LocalError
from meshcore.core.settings import Settings
from meshcore.serve.hypercorn_worker import unix_socket
from meshcore.stream.unix_socket import announced_socket

log = logging.getLogger(__name__)

_BACKLOG = 1024
_ANSWER = 1.0
"""Seconds for a server that may listen at the path to accept a connection."""


@contextmanager
def bound_unix_socket(path: str) -> Generator[tuple[socket.socket, ...]]:
    """Listen at the path, and remove the file at the end. No socket if the path is empty.

    A file that a killed server has left is replaced. The umask says who may connect: by default the own user.

    Raises:
        LocalError: it cannot be bound, or another server listens there.
    """
    if not path:
        yield ()
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            _remove_stale(path)
            sock.bind(path)
            sock.listen(_BACKLOG)
        except (OSError, ValueError) as error:  # too long, or a null byte
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            text = f"cannot listen at the unix socket {path}: {reason[:1].lower()}{reason[1:]} (setting unix_socket)"
            raise LocalError(Code.UNAVAILABLE, text) from error
        sock.setblocking(False)  # noqa: FBT003
        mark = announced_socket(path)
        try:
            yield (sock,)
        finally:
            if announced_socket(path) == mark:  # not that of a server that has taken its place
                with suppress(OSError):
                    Path(path).unlink()


def _remove_stale(path: str) -> None:
    """Remove a socket at which nobody listens any more.

    Raises:
        OSError: EADDRINUSE, somebody listens, or it is another kind of file.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_ANSWER)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
                return
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def announced_unix_socket(settings: Settings) -> str:
    """What this process announces of its unix socket; empty if it has none.

    With TLS it announces none: who the server is, and who its clients, would not be checked there.
    """
    path = settings.unix_socket or unix_socket()
    if not path or settings.advertise_url.startswith("https:"):
        return ""
    announced = announced_socket(path)
    if not announced:
        log.warning("there is no unix socket at %s (setting unix_socket), so clients use the port", path)
    return announced
