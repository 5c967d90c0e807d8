"""The base of channels over HTTP: it owns the aiohttp session, and turns errors of aiohttp into those of the mesh."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import aiohttp
from yarl import URL

from meshcore.client.connections.sessions import request_options
from meshcore.core.call import Call
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError, LocalError, MeshError
from meshcore.core.instances import Endpoint
from meshcore.core.masking import without_secrets
from meshcore.ports.channel import Channel
from meshcore.wire.answer import Answer, StreamedAnswer
from meshcore.wire.endpoints import LIVEZ
from meshcore.wire.headers import ATTEMPT, TIMEOUT, check_headers, write_timeout
from meshcore.wire.keep_alive import USUAL_KEEP_ALIVE

from .direct import IDLE_SHARE, DirectExchange, TooLargeError
from .http_errors import communication_error, request_too_large, too_large
from .through_aiohttp import LARGE, exchange_through, send_once, shortened

KEEP_ALIVE = IDLE_SHARE * USUAL_KEEP_ALIVE
"""Seconds after which an idle connection is not used again, if its server does not say that it closes it earlier."""

CONNECT_TIMEOUT = 2.0
"""Seconds for a connection, and at most half of the time until the deadline of the call.

A host that is gone would otherwise use up the whole deadline. After the timeout another instance can be tried, since
the call was not sent. Two seconds allow for one lost packet: Linux resends SYN after one second.
"""

_LIVENESS = Method("meshcore", "livez", (), None, is_async=True)
_LIVENESS_TIMEOUT = 1.0
"""Seconds. A server whose event loop works answers within milliseconds, also under load."""

_GATEWAY_ERRORS = frozenset({502, 503, 504})

StreamBody: TypeAlias = bytes | AsyncIterator[bytes] | None
"""The body of a request: whole, in chunks, or none."""

_SCHEMES = frozenset({"http", "https"})


def parse_url(text: str) -> URL:
    """Parse the URL of an instance. It may be malformed: `advertise_url` and `static:` are written by hand.

    Raises:
        CommunicationError: the URL is malformed. UNAVAILABLE and not processed, so another instance is tried.
    """
    try:
        url = URL(text)
        host = url.raw_host or ""
        host.encode("idna")  # the lookup of its address does the same, with a worse error
    except ValueError as error:
        raise _unusable(text, str(error)) from error
    if url.scheme not in _SCHEMES or not host:
        raise _unusable(text, "it must begin with http://host or https://host")
    return url


def _unusable(url: str, reason: str) -> CommunicationError:
    return CommunicationError(
        Code.UNAVAILABLE, f"the URL {without_secrets(url)!r} cannot be used: {reason}", processed=False
    )


class HTTPChannel(Channel):
    """The base of channels over HTTP. It owns an aiohttp session, which `make_session` makes for the first call."""

    _session: aiohttp.ClientSession | None = None
    _plain: aiohttp.ClientSession | None = None  # the session, if all its options are the defaults
    _direct: DirectExchange | None = None
    _closed = False

    def make_session(self, **options: Any) -> aiohttp.ClientSession:
        """Make the session. Around advice on this method can add a token or a connector.

        Args:
            options: for `aiohttp.ClientSession`. They override the channel's own options. With any option, and with a
                session that advice made, calls go through all of aiohttp, which takes longer.
        """
        defaults: dict[str, Any] = {
            "connector": None,
            "cookie_jar": aiohttp.DummyCookieJar(),
            # The call's deadline bounds the request. aiohttp's own timer would take 10 us, with a worse error.
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        }
        settings: dict[str, Any] = {
            **defaults,
            **options,
            "middlewares": (*options.get("middlewares", ()), send_once),  # innermost
        }
        if settings["connector"] is None:
            # The concurrency limit of the server bounds the connections.
            tls = self.options.tls
            connector = aiohttp.TCPConnector if tls is None else tls.connector
            settings["connector"] = connector(limit=0, keepalive_timeout=KEEP_ALIVE)
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
            raise request_too_large(call, len(body), limit)
        left = call.deadline - time.monotonic()
        sent = {**headers, TIMEOUT: write_timeout(left)}
        if call.headers:  # most calls have none
            sent = {**call.headers, **sent}
        if call.attempt > 1:
            sent[ATTEMPT] = str(call.attempt)
        attempt = call.trail[-1] if call.trail else None
        try:
            answer = await self.transmit(call, verb, url, sent, body)
        except TooLargeError:
            raise too_large(call, limit) from None
        except (aiohttp.ClientError, OSError) as error:
            raise communication_error(call, url, error) from error
        except UnicodeEncodeError as error:  # which holds all headers
            text = f"{call.method}: a header or the URL contains what is no text: {error.reason}"
            raise LocalError(Code.INVALID_ARGUMENT, text) from None
        except ValueError as error:
            raise LocalError(Code.INVALID_ARGUMENT, f"{call.method}: {error}") from error
        if attempt is not None:
            attempt.connecting = answer.connecting
        if len(answer.body) > limit:  # advice on `transmit` need not check
            raise too_large(call, limit)
        return answer

    async def transmit(self, call: Call, verb: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Send a request over the network, once, and read its whole answer.

        Around advice on this method can replace the network, as `meshcore.testing.memory_mesh` does.

        Raises:
            TooLargeError: the answer has more bytes than `max_body`.
            aiohttp.ClientError: no complete answer came.
            OSError: likewise.
            ValueError: a header cannot be sent.
        """
        limit = self.options.max_body
        session = self.session(call)
        left = call.deadline - time.monotonic()
        # A timeout object of its own would take 2 us for each call.
        timeout = session.timeout if left >= 2 * CONNECT_TIMEOUT else shortened(session.timeout, left)
        if self._direct is not None and url.raw_user is None and (body is None or len(body) < LARGE):
            return await self._direct.send(verb, url, headers, body, connecting=timeout, limit=limit)
        return await exchange_through(
            session, verb, url, headers, body, limit=limit, options={"timeout": timeout, **self.request_options(url)}
        )

    @asynccontextmanager
    async def exchange_stream(
        self, call: Call, verb: str, url: URL, headers: Mapping[str, str], body: StreamBody
    ) -> AsyncGenerator[StreamedAnswer]:
        """Send one request whose body or answer streams, once. When the context is left, the connection is closed.

        Raises:
            LocalError: a header cannot be sent.
            CommunicationError: no answer came, or its connection broke.
        """
        sent = {**call.headers, **headers, TIMEOUT: write_timeout(call.deadline - time.monotonic())}
        if call.attempt > 1:
            sent[ATTEMPT] = str(call.attempt)
        try:
            check_headers(sent)
            async with self.transmit_stream(call, verb, url, sent, body) as answer:
                yield answer
        except (aiohttp.ClientError, OSError) as error:
            raise communication_error(call, url, error) from error
        except UnicodeEncodeError as error:
            text = f"{call.method}: a header or the URL contains what is no text: {error.reason}"
            raise LocalError(Code.INVALID_ARGUMENT, text) from None

    @asynccontextmanager
    async def transmit_stream(
        self, call: Call, verb: str, url: URL, headers: Mapping[str, str], body: StreamBody
    ) -> AsyncGenerator[StreamedAnswer]:
        """Send such a request over the network. Around advice on this method can replace that, as on `transmit`."""
        session = self._session or self._open(call)
        timeout = shortened(session.timeout, call.deadline - time.monotonic())
        sent = not isinstance(body, AsyncIterator)

        async def chunks(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            nonlocal sent
            async for chunk in source:
                yield chunk
            sent = True

        data = chunks(body) if isinstance(body, AsyncIterator) else body
        async with session.request(
            verb, url, data=data, headers=headers, allow_redirects=False, timeout=timeout, **self.request_options(url)
        ) as response:
            try:
                yield StreamedAnswer(response.status, response.headers, response.content.iter_any())
            finally:
                if not (sent and response.content.at_eof()):
                    response.close()  # the rest is not wanted, or the server has answered before the end

    async def is_alive(self, endpoint: Endpoint) -> bool | None:
        """Ask for `/livez`. Any answer will do, also of a server that is no mesh, but not that of a proxy before it."""
        call = Call(_LIVENESS, deadline=time.monotonic() + _LIVENESS_TIMEOUT)
        try:
            url = URL(str(parse_url(endpoint.url)).rstrip("/") + LIVEZ)
            async with asyncio.timeout(_LIVENESS_TIMEOUT):
                answer = await self.transmit(call, "GET", url, {}, None)
        except (MeshError, TooLargeError, aiohttp.ClientError, OSError, ValueError):  # a timeout is an OSError
            return False
        return answer.status not in _GATEWAY_ERRORS

    def session(self, call: Call) -> aiohttp.ClientSession:
        """Return the session. The first call makes it.

        Raises:
            LocalError: FAILED_PRECONDITION, the mesh has stopped.
        """
        return self._session or self._open(call)

    def check_open(self, call: Call) -> None:
        """Raise LocalError (FAILED_PRECONDITION) if the mesh has stopped: nothing would close what a call opens."""
        if self._closed:
            raise LocalError(Code.FAILED_PRECONDITION, f"{call.method} was called, but the mesh has stopped")

    def _open(self, call: Call) -> aiohttp.ClientSession:
        self.check_open(call)
        session = self._session = self.make_session()
        if session is self._plain and DirectExchange.supported():
            self._direct = DirectExchange(session, self.component.name)
            if self.options.tls is not None:
                self.options.tls.changed.add(self._direct.forget_targets)
        return session

    def request_options(self, url: URL) -> dict[str, Any]:
        """What aiohttp has to know of the TLS of a request, see `client.connections.sessions`."""
        return {} if self._session is None else request_options(self._session, self.component.name, url)

    async def aclose(self) -> None:
        """Close the session."""
        self._closed = True
        if self._direct is not None and self.options.tls is not None:
            self.options.tls.changed.discard(self._direct.forget_targets)
        if self._session is not None:
            await self._session.close()
            self._session = self._plain = self._direct = None
