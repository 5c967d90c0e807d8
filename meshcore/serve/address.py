"""The listening socket, and the address that is advertised for it."""

from __future__ import annotations

import os
import socket

import msgspec

from meshcore.core.errors import Code, ConfigurationError, LocalError
from meshcore.core.settings import Settings

DEFAULT_BIND = "127.0.0.1:8000"

BACKLOG = 1024

MACHINE_NAME = "the name of this machine"
"""The source of an advertised URL that was not set, of a server that listens on all interfaces."""


def open_socket(bind: str) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigurationError: the address makes no sense.
        LocalError: it cannot be bound.
    """
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004 - the largest port
        raise ConfigurationError("cannot serve", [f"bind must be host:port, such as {DEFAULT_BIND}, got {bind!r}"])
    host = host.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104 - ":8000" is how people ask for it
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last run may linger
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # is passed on to accepted connections
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
    """The settings for a server on this socket, whose URL is advertised unless somebody set another.

    What is bound to all interfaces has the machine's name.
    """
    if settings.sources.get("advertise_url", "default") != "default":
        return settings
    host, port = sock.getsockname()[:2]
    source = "what is bound"
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - it is compared
        host, source = socket.gethostname(), MACHINE_NAME
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    sources = {**settings.sources, "advertise_url": source}
    return msgspec.structs.replace(settings, advertise_url=url, sources=sources)
