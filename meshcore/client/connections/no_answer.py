"""Says why a server did not answer: refused, broken, not HTTP, or what failed of TLS."""

from __future__ import annotations

import os
import re
import socket
from typing import Final

import aiohttp

from meshcore.client.connections.tls_failure import tls_failure

_TLS_ALERT: Final = re.compile(r"x15\\+x03")
"""How a TLS server answers what is not TLS, as the text of aiohttp's parser has it."""


class NotHTTPError(aiohttp.ClientPayloadError):
    """The answer is not HTTP."""


class LostConnectionError(aiohttp.ClientConnectionError):
    """The connection broke after the request was sent. It may have been processed."""


class NeverAnsweredError(aiohttp.ServerDisconnectedError):
    """The connection was closed before the answer, and the server has never answered this client.

    Args:
        over_tls: whether the connection used TLS.
    """

    def __init__(self, *, over_tls: bool) -> None:
        super().__init__()
        self.over_tls = over_tls


_REASONS: Final = (
    (NotHTTPError, "the answer is not HTTP"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
    (aiohttp.ClientPayloadError, "the connection broke in the middle of the answer"),
    (aiohttp.ServerDisconnectedError, "the connection was closed before the answer"),
    (LostConnectionError, "the connection was closed before the answer"),
    (aiohttp.ConnectionTimeoutError, "no connection in time"),
    (TimeoutError, "no answer in time"),
)


def why_no_answer(error: BaseException) -> str:
    """Return why a server did not answer, on one line. Without its address, which the texts of aiohttp repeat."""
    if failure := tls_failure(error):
        return failure
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), "")
    match error:
        case NeverAnsweredError(over_tls=over_tls):
            return (
                f"{reason}; a server that expects {'a certificate of the client' if over_tls else 'https://'} does that"
            )
        case NotHTTPError() | aiohttp.ClientResponseError() if _TLS_ALERT.search(str(error)):
            return "the answer is TLS; the URL of this server seems to begin with https://"
        case aiohttp.ClientConnectorError(os_error=socket.gaierror(strerror=text)):
            return f"the host has no known address: {str(text).lower()}"
        case OSError(errno=int(number)) if number > 0 and not reason:
            return os.strerror(number).lower()
        case _:
            return reason or _text(error) or type(error).__name__


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())
