"""What channels over HTTP share: the aiohttp session, and aiohttp's failures as errors of the mesh."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

import aiohttp
from yarl import URL

from meshcore.call import Call
from meshcore.errors import Code, CommunicationError, LocalError
from meshcore.headers import ATTEMPT, TIMEOUT
from meshcore.ports import Channel

KEEP_ALIVE = 3.0
"""Seconds after which an idle connection is not used again.

Servers close idle connections, hypercorn and uvicorn after 5 s by default. A request that is just then on its way is
lost, and nobody can tell whether it was processed: of 150 connections used again after about 5 s, 82 failed. So the
client must be clearly the first to give up a connection.
"""

CONNECT_TIMEOUT = 2.0
"""Seconds for a connection to be made, and never more than half of what is left of the call's time.

A host that is gone without a word would otherwise use up the whole deadline, and nothing is lost by asking another
instance: the call has not left. Two seconds are enough for one packet to be lost: Linux sends SYN again after one.
"""

_LARGE = 2**20


class _Request(aiohttp.ClientRequest):
    """A request without `Accept`, `Accept-Encoding` and `User-Agent`: nobody reads them here.

    Each costs the server 3 us to parse, and leaving them out through the session's `skip_auto_headers` costs the client
    more than that, since it copies the headers for every request: together 5 % of a call.
    """

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add nothing."""


class HTTPChannel(Channel):
    """The base of channels over HTTP. It owns an aiohttp session, which `make_session` makes at the first call."""

    _session: aiohttp.ClientSession | None = None
    _closed = False

    def make_session(self, **options: Any) -> aiohttp.ClientSession:
        """Make the session. The place for an around advice that adds a token or a connector of one's own.

        Args:
            options: for `aiohttp.ClientSession`; they take precedence over the channel's own.
        """
        defaults: dict[str, Any] = {
            "connector": None,
            "cookie_jar": aiohttp.DummyCookieJar(),
            # The call's deadline bounds the whole; a timer of aiohttp's per request would cost 10 us and say less.
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            "request_class": _Request,
        }
        settings = {**defaults, **options}
        if settings["connector"] is None:
            # How many connections there may be is for the server's concurrency limit to say.
            settings["connector"] = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
        return aiohttp.ClientSession(**settings)

    async def exchange(
        self, call: Call, verb: str, url: URL, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send one request and read its whole answer.

        Returns:
            The response, whose status and headers are of interest, and its body.

        Raises:
            LocalError: the body is larger than `max_body`.
            CommunicationError: no complete answer came.
        """
        if body is not None and len(body) > self.options.max_body:
            text = (
                f"{call.method}: the request is {len(body)} bytes, more than {self.options.max_body} (setting max_body)"
            )
            raise LocalError(Code.RESOURCE_EXHAUSTED, text)
        session = self._session
        if session is None:
            if self._closed:  # a call outlived the mesh; a new session would be nobody's to close
                raise LocalError(Code.FAILED_PRECONDITION, f"{call.method} was called, but the mesh has stopped")
            session = self._session = self.make_session()
        left = call.deadline - time.monotonic()
        sent = {**call.headers, **headers, TIMEOUT: str(max(1, int(left * 1000)))}
        if call.attempt > 1:
            sent[ATTEMPT] = str(call.attempt)
        # The session's own costs nothing; one of the call's own 2 us.
        timeout = session.timeout if left >= 2 * CONNECT_TIMEOUT else _in_haste(session.timeout, left)
        try:
            # A large body as a stream: aiohttp would write bytes in one piece, and the loop would wait for that.
            data = BytesIO(body) if body is not None and len(body) >= _LARGE else body
            async with session.request(
                verb, url, data=data, headers=sent, allow_redirects=False, timeout=timeout
            ) as response:
                return response, await self._read(call, response)
        except aiohttp.ClientError as error:
            raise _communication_error(call, url, error) from error
        except OSError as error:
            raise _communication_error(call, url, error) from error

    async def _read(self, call: Call, response: aiohttp.ClientResponse) -> bytes:
        limit = self.options.max_body
        if response.content_length is not None and response.content_length <= limit:
            return await response.read()
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > limit:
                response.close()
                text = f"the answer to {call.method} is larger than {limit} bytes (setting max_body)"
                raise CommunicationError(Code.RESOURCE_EXHAUSTED, text, retryable=False)
            chunks.append(chunk)
        return b"".join(chunks)

    async def aclose(self) -> None:
        """Close the session."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None


def _in_haste(timeout: aiohttp.ClientTimeout, left: float) -> aiohttp.ClientTimeout:
    """With so few seconds left, a connection that is not made must leave some of them to another instance."""
    connect = max(left / 2, 0.001)
    if timeout.sock_connect is not None:
        connect = min(connect, timeout.sock_connect)
    return aiohttp.ClientTimeout(
        total=timeout.total, connect=timeout.connect, sock_read=timeout.sock_read, sock_connect=connect
    )


def _communication_error(call: Call, url: URL, error: Exception) -> CommunicationError:
    """What a failed exchange means. Only what certainly never reached a handler is `processed=False`."""
    never_sent = isinstance(
        error,
        aiohttp.ClientConnectorError  # no connection: refused, unreachable, no such host, TLS
        | aiohttp.ConnectionTimeoutError
        | aiohttp.ClientConnectionResetError  # the connection was closed before the request was written
        | aiohttp.InvalidURL,
    )
    number = error.errno if isinstance(error, OSError) else None
    reason = os.strerror(number).lower() if number else str(error) or type(error).__name__
    text = f"{call.method}: no answer from {url.origin()}: {reason}"
    return CommunicationError(Code.UNAVAILABLE, text, processed=not never_sent)
