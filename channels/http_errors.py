"""The errors of calls over HTTP."""

from __future__ import annotations

import aiohttp
from yarl import URL

from meshcore.client.connections.no_answer import why_no_answer
from meshcore.client.connections.tls_failure import is_refused_in_handshake
from meshcore.core.call import Call
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.security.tls.client_errors import ClearTextError


def request_too_large(call: Call, size: int, limit: int) -> LocalError:
    """Make the error for a request of more bytes than the limit."""
    text = f"{call.method}: the request is {size} bytes, more than {limit} (setting max_body)"
    return LocalError(Code.RESOURCE_EXHAUSTED, text)


def too_large(call: Call, limit: int, what: str = "") -> CommunicationError:
    """Make the error for an answer that is larger than the limit, in bytes; or for what else is."""
    text = f"{what or 'the answer'} to {call.method} is larger than {limit} bytes (setting max_body)"
    return CommunicationError(Code.RESOURCE_EXHAUSTED, text, retryable=False)


def item_too_large(method: Method, limit: int) -> CommunicationError:
    """Make the error for an item of a stream that is larger than the limit, in bytes."""
    text = f"an item of the answer to {method} is larger than {limit} bytes (setting max_body)"
    return CommunicationError(Code.RESOURCE_EXHAUSTED, text, retryable=False)


def cut_off(method: Method) -> CommunicationError:
    """Make the error for a stream without its end."""
    return CommunicationError(Code.UNAVAILABLE, f"{method}: the answer was cut off in mid-stream")


def communication_error(call: Call, url: URL, error: Exception) -> CommunicationError:
    """Make the error for a failed exchange. `processed` is False only if the request was certainly not sent."""
    never_sent = isinstance(
        error,
        aiohttp.ClientConnectorError  # no connection: refused, unreachable, no such host, TLS
        | aiohttp.ConnectionTimeoutError
        | aiohttp.ClientConnectionResetError  # the connection was closed before the request was written
        | aiohttp.InvalidURL
        | ClearTextError,
    ) or is_refused_in_handshake(error)
    server = url.origin() if url.absolute else url  # the subclass of a user may pass any URL
    text = f"{call.method}: no answer from {server}: {why_no_answer(error)}"
    return CommunicationError(Code.UNAVAILABLE, text, processed=not never_sent)
