"""What channels over HTTP share: the aiohttp session, and aiohttp's failures as errors of the mesh."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import aiohttp
from yarl import URL

from meshcore.core.call import Call
from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.ports.channel import Channel
from meshcore.wire.answer import Answer
from meshcore.wire.headers import ATTEMPT, TIMEOUT, write_timeout

from .direct import DirectExchange, NotHTTPError, TooLargeError, read_body

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
_SCHEMES = frozenset({"http", "https"})


def parse_url(text: str) -> URL:
    """The URL of an instance, as whoever announced it wrote it: by hand, perhaps.

    Raises:
        CommunicationError: UNAVAILABLE and not processed, nobody can be asked under it; so another instance is.
    """
    try:
        url = URL(text)
        host = url.raw_host or ""
        host.encode("idna")  # as when its address is looked up, where nobody could tell what was wrong
    except ValueError as error:
        raise _unusable(text, str(error)) from error
    if url.scheme not in _SCHEMES or not host:
        raise _unusable(text, "it has to begin with http://host or https://host")
    return url


def _unusable(url: str, reason: str) -> CommunicationError:
    return CommunicationError(Code.UNAVAILABLE, f"the URL {url!r} cannot be asked: {reason}", processed=False)


class HTTPChannel(Channel):
    """The base of channels over HTTP. It owns an aiohttp session, which `make_session` makes at the first call."""

    _session: aiohttp.ClientSession | None = None
    _plain: aiohttp.ClientSession | None = None  # made here without options: nothing of it is passed by
    _direct: DirectExchange | None = None
    _closed = False

    def make_session(self, **options: Any) -> aiohttp.ClientSession:
        """Make the session. The place for an around advice that adds a token or a connector of one's own.

        Args:
            options: for `aiohttp.ClientSession`; they take precedence over the channel's own. With any of them, and
                with a session that somebody else made, calls pass through all of aiohttp, which takes longer.
        """
        defaults: dict[str, Any] = {
            "connector": None,
            "cookie_jar": aiohttp.DummyCookieJar(),
            # The call's deadline bounds the whole; a timer of aiohttp's per request would cost 10 us and say less.
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        }
        settings: dict[str, Any] = {
            **defaults,
            **options,
            "middlewares": (*options.get("middlewares", ()), _send_once),  # innermost
        }
        if settings["connector"] is None:
            # How many connections there may be is for the server's concurrency limit to say.
            settings["connector"] = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
        session = aiohttp.ClientSession(**settings)
        if not options:
            self._plain = session
        return session

    async def exchange(self, call: Call, verb: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Send one request, once, and read its whole answer.

        Raises:
            LocalError: the body is larger than `max_body`, or a header cannot be sent.
            CommunicationError: no complete answer came.
        """
        limit = self.options.max_body
        if body is not None and len(body) > limit:
            text = f"{call.method}: the request is {len(body)} bytes, more than {limit} (setting max_body)"
            raise LocalError(Code.RESOURCE_EXHAUSTED, text)
        left = call.deadline - time.monotonic()
        sent = {**call.headers, **headers, TIMEOUT: write_timeout(left)}
        if call.attempt > 1:
            sent[ATTEMPT] = str(call.attempt)
        try:
            answer = await self.transmit(call, verb, url, sent, body)
        except TooLargeError:
            raise _too_large(call, limit) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _communication_error(call, url, error) from error
        except ValueError as error:
            raise LocalError(Code.INVALID_ARGUMENT, f"{call.method}: {error}") from error
        if len(answer.body) > limit:  # it came another way than over the network
            raise _too_large(call, limit)
        return answer

    async def transmit(self, call: Call, verb: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Take a request to its server, once, and bring its whole answer: the network, and nothing else.

        The place for an around advice that goes another way, as `meshcore.testing.memory_mesh` does.

        Raises:
            TooLargeError: the answer has more bytes than `max_body`.
            aiohttp.ClientError: no complete answer came.
            OSError: the same.
            ValueError: a header cannot be sent.
        """
        limit = self.options.max_body
        session = self._session or self._open(call)
        left = call.deadline - time.monotonic()
        # The session's own costs nothing; one of the call's own 2 us.
        timeout = session.timeout if left >= 2 * CONNECT_TIMEOUT else _in_haste(session.timeout, left)
        if self._direct is not None and url.raw_user is None and (body is None or len(body) < _LARGE):
            return await self._direct.send(verb, url, headers, body, connecting=timeout, limit=limit)
        return await _exchange(session, verb, url, headers, body, connecting=timeout, limit=limit)

    def _open(self, call: Call) -> aiohttp.ClientSession:
        if self._closed:  # a call outlived the mesh; a new session would be nobody's to close
            raise LocalError(Code.FAILED_PRECONDITION, f"{call.method} was called, but the mesh has stopped")
        session = self._session = self.make_session()
        if session is self._plain and DirectExchange.fits():
            self._direct = DirectExchange(session)
        return session

    async def aclose(self) -> None:
        """Close the session."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = self._plain = self._direct = None


async def _exchange(
    session: aiohttp.ClientSession,
    verb: str,
    url: URL,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    connecting: aiohttp.ClientTimeout,
    limit: int,
) -> Answer:
    """The same as `DirectExchange.send` with all that aiohttp can do, for sessions that somebody made for that."""
    # A large body as a stream: aiohttp would write bytes in one piece, and the loop would wait for that.
    data = BytesIO(body) if body is not None and len(body) >= _LARGE else body
    async with session.request(
        verb, url, data=data, headers=headers, allow_redirects=False, timeout=connecting
    ) as response:
        try:
            return Answer(response.status, response.headers, await read_body(response.content, limit))
        except TooLargeError:
            response.close()
            raise


class LostConnectionError(aiohttp.ClientConnectionError):
    """The connection broke after the request was sent; nobody can tell whether it was processed."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET, PUT or DELETE again by itself when its connection breaks.

    It would ask the same instance, uncounted. The mesh does so itself, elsewhere and within its bounds. What aiohttp
    sends again it tells by these two classes; a middleware is the public place to say otherwise.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostConnectionError(str(error)) from error


def _in_haste(timeout: aiohttp.ClientTimeout, left: float) -> aiohttp.ClientTimeout:
    """With so few seconds left, a connection that is not made must leave some of them to another instance."""
    connect = max(left / 2, 0.001)
    if timeout.sock_connect is not None:
        connect = min(connect, timeout.sock_connect)
    return aiohttp.ClientTimeout(
        total=timeout.total, connect=timeout.connect, sock_read=timeout.sock_read, sock_connect=connect
    )


def _too_large(call: Call, limit: int) -> CommunicationError:
    text = f"the answer to {call.method} is larger than {limit} bytes (setting max_body)"
    return CommunicationError(Code.RESOURCE_EXHAUSTED, text, retryable=False)


def _communication_error(call: Call, url: URL, error: Exception) -> CommunicationError:
    """What a failed exchange means. Only what certainly never reached a handler is `processed=False`."""
    never_sent = isinstance(
        error,
        aiohttp.ClientConnectorError  # no connection: refused, unreachable, no such host, TLS
        | aiohttp.ConnectionTimeoutError
        | aiohttp.ClientConnectionResetError  # the connection was closed before the request was written
        | aiohttp.InvalidURL,
    )
    server = url.origin() if url.absolute else url  # a channel of somebody's own may have made it of anything
    text = f"{call.method}: no answer from {server}: {_reason(error)}"
    return CommunicationError(Code.UNAVAILABLE, text, processed=not never_sent)


def _reason(error: Exception) -> str:
    """What happened, on one line. aiohttp's own words are for who reads its code: statuses that nobody sent."""
    match error:
        case NotHTTPError() | aiohttp.ClientResponseError():
            return "what it answers is not HTTP"
        case aiohttp.ClientPayloadError():
            return "the connection broke in the middle of the answer"
        case aiohttp.ServerDisconnectedError() | LostConnectionError():
            return "the connection was closed before the answer"
        case OSError(errno=int(number)):
            return os.strerror(number).lower()
        case _:
            return " ".join(str(error).split()) or type(error).__name__
