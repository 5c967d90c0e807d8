"""What a faulty proxy can do to exchanges, and how connections are reset."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from enum import Enum, auto

GUSH = b" " * 65536
_RESET = struct.pack("ii", 1, 0)


class Fault(Enum):
    """What happens to an exchange, and to the connections that are open when it begins."""

    NONE = auto()

    RESET_AT_ONCE = auto()
    """Every connection is reset, those that are open too, before a request is read."""

    RESET_IN_REQUEST = auto()
    """The server gets half of the request, then both sides are reset."""

    RESET_AFTER_REQUEST = auto()
    """The server gets the request and answers, but its client is reset."""

    RESET_IN_ANSWER = auto()
    """The client gets half of the answer, then it is reset."""

    CLOSE_AT_ONCE = auto()
    """Every connection is closed in good order, those that are open too, before a request is read."""

    CLOSE_AFTER_REQUEST = auto()
    """The request is read, and the connection closed; the server gets nothing."""

    CLOSE_IN_ANSWER = auto()
    """The client gets half of the answer, then its connection is closed in good order."""

    SILENT = auto()
    """The request is read, nothing is ever answered; the server gets nothing."""

    DEAF = auto()
    """The connections that are open are closed; new ones are accepted, and nothing is read from them."""

    ENDLESS = auto()
    """The answer begins and goes on for ever, a byte at a time."""

    GUSHING = auto()
    """The answer begins and goes on for ever, as fast as it is read."""

    NOT_HTTP = auto()
    """The answer is no HTTP."""

    NOT_OURS = auto()
    """The answer is a page for people, with status 200."""

    TRUNCATED = auto()
    """The answer lacks its second half, and its length says that this is all."""

    EMPTY = auto()
    """The answer is empty, with status 200."""

    SERVER_ERROR = auto()
    """The answer is a 500, as Consul gives it without a leader: with an index that means nothing."""

    TOO_MANY = auto()
    """The answer is a 429."""

    HIDDEN = auto()
    """The answer is an empty list, as Consul gives it to a token that may see nothing of what is there."""

    SOMEBODY_ELSE = auto()
    """The address is now another application's, which knows nothing of the kind."""


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a reset: nothing lingers, what is not yet sent is thrown away."""
    sock: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):  # it is closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
