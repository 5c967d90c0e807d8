"""Sends requests through all of aiohttp, for sessions with options."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import aiohttp
from yarl import URL

from meshcore.client.connections.no_answer import LostConnectionError
from meshcore.wire.answer import Answer
from meshcore.wire.headers import check_headers

from .direct import TooLargeError, read_body

LARGE: Final = 2**20
"""Bytes of a body that is sent in pieces."""


# The signature of `DirectExchange.send`, of which this is the general form.
async def exchange_through(
    session: aiohttp.ClientSession,
    verb: str,
    url: URL,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    limit: int,
    options: Mapping[str, Any],
) -> Answer:
    """Send a request through all of aiohttp, for sessions with options."""
    check_headers(headers)
    # A large body is sent as a stream: aiohttp writes bytes in one piece, which blocks the event loop.
    data = BytesIO(body) if body is not None and len(body) >= LARGE else body
    async with session.request(verb, url, data=data, headers=headers, allow_redirects=False, **options) as response:
        try:
            return Answer(response.status, response.headers, await read_body(response.content, limit))
        except TooLargeError:
            response.close()
            raise


async def send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from resending a GET, PUT or DELETE when its connection breaks.

    It would resend to the same instance, outside of the retry budget. The mesh retries itself, at another instance.
    aiohttp resends after these two error classes. A middleware can replace them.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostConnectionError(str(error)) from error


def shortened(timeout: aiohttp.ClientTimeout, left: float) -> aiohttp.ClientTimeout:
    """Shorten the connection timeout to half of the time left, so that another instance can be tried afterwards."""
    connect = max(left / 2, 0.001)
    if timeout.sock_connect is not None:
        connect = min(connect, timeout.sock_connect)
    return aiohttp.ClientTimeout(
        total=timeout.total, connect=timeout.connect, sock_read=timeout.sock_read, sock_connect=connect
    )
