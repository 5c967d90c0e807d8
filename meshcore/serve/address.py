"""Opens the listening socket, whose URL is advertised."""

from __future__ import annotations

import os
import socket

from meshcore.core.errors import Code, ConfigurationError, LocalError
from meshcore.core.settings import Settings
from meshcore.serve.advertised_url import with_url

DEFAULT_BIND = "127.0.0.1:8000"

BACKLOG = 1024


def open_socket(bind: str) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigurationError: the address is not valid.
        LocalError: it cannot be bound.
    """
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004 - the largest port
        raise ConfigurationError("cannot serve", [f"bind must be host:port, such as {DEFAULT_BIND}, got {bind!r}"])
    host = host.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104 - ":8000" means all interfaces
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last run may be in TIME_WAIT
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
        sock.bind((host, int(port)))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        text = f"cannot listen at {bind}: {reason[:1].lower()}{reason[1:]}; choose another address with --bind"
        raise LocalError(Code.UNAVAILABLE, text) from error
    sock.setblocking(False)  # noqa: FBT003
    return sock


def at_address(settings: Settings, sock: socket.socket) -> Settings:
    """The settings for a server on this socket. The socket's URL is advertised, unless the settings give another.

    For a socket on all interfaces, `with_reachable_url` chooses the host as soon as the registry is known.
    """
    if settings.sources.get("advertise_url", "default") != "default":
        return settings
    host, port = sock.getsockname()[:2]
    return with_url(settings, "http" if settings.identity == "none" else "https", host, port)
