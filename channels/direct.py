"""Sends requests directly over the connections of an aiohttp session, without its request and response objects.

For each request aiohttp makes several objects, for redirects, cookies, proxies, middlewares and tracing. They take 100
of the 480 us of a minimal call to another process, and a third of the client's processor time (`python -m benchmarks
--only wire`). A channel needs none of them. It does use aiohttp's connection pool, TLS, name resolution and parser. Not
all of that API is documented, so `DirectExchange.supported` checks that it exists.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from meshcore.client.connections.no_answer import NeverAnsweredError, NotHTTPError
from meshcore.client.connections.sessions import request_options
from meshcore.wire.answer import Answer
from meshcore.wire.headers import check_headers
from meshcore.wire.keep_alive import KEEP_ALIVE, USUAL_KEEP_ALIVE, read_keep_alive

IDLE_SHARE = 0.6
"""The share of a server's keep-alive for which an idle connection is used again.

A request that is sent while the server closes the connection is lost, and the client cannot tell whether it was
processed: of 150 connections used again after about 5 s, 82 failed. So the client gives them up well before the server.
"""

_INFORMATIONAL = range(100, 200)
_NO_TIMER = aiohttp.helpers.TimerNoop()


class TooLargeError(Exception):
    """A body has more bytes than allowed."""


class DirectExchange:
    """Sends requests over the connections of a session.

    Args:
        session: a session with default options. Its headers, cookies and middlewares have no effect.
        component: that is called.
    """

    def __init__(self, session: aiohttp.ClientSession, component: str = "") -> None:
        connector = session.connector
        assert connector is not None  # noqa: S101 - only a closed session has none
        self._connector = connector
        self._session = session
        self._component = component
        self._targets: dict[tuple[str, str], _Target] = {}

    @staticmethod
    def supported() -> bool:
        """Return whether this release of aiohttp has the API that is used here."""
        return all(
            names <= inspect.signature(function).parameters.keys()
            for function, names in (
                (aiohttp.BaseConnector.connect, {"req", "traces", "timeout"}),
                (aiohttp.ClientRequest, {"method", "url", "loop", "session", "ssl", "server_hostname"}),
                (ResponseHandler.set_response_params, {"timer", "read_until_eof"}),
            )
        )

    async def send(
        self,
        verb: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        connecting: aiohttp.ClientTimeout,
        limit: int,
    ) -> Answer:
        """Send one request, once, and read its whole answer.

        Args:
            verb: the HTTP method.
            url: without user and password.
            headers: all but `host` and `content-length`.
            body: None for none.
            connecting: the timeouts of the connection. The caller bounds the whole request.
            limit: the bytes that the body of the answer may have.

        Raises:
            TooLargeError: the body has more bytes.
            aiohttp.ClientError: no complete answer came.
            OSError: likewise.
            ValueError: a header cannot be sent.
        """
        target = self._targets.get((url.scheme, url.raw_authority)) or self._target(url)
        head = target.head(verb, url, headers, body)
        began = time.monotonic()
        try:
            connection = await self._connector.connect(target.request, traces=[], timeout=connecting)
            while target.closes_early and target.is_stale(connection.protocol):
                connection.close()
                connection = await self._connector.connect(target.request, traces=[], timeout=connecting)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {url.origin()}") from error
        connected = time.monotonic() - began
        try:
            answer = await _exchange(connection.protocol, head, body, limit, connected)
        except BaseException as error:
            connection.close()  # the rest of this answer must not be read as the next one
            if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) and not target.answered:
                raise NeverAnsweredError(over_tls=url.scheme == "https") from error
            raise
        if KEEP_ALIVE in answer.headers:
            target.note_release(connection.protocol, answer.headers[KEEP_ALIVE])
        connection.release()
        target.answered = True
        return answer

    def _target(self, url: URL) -> _Target:
        options = request_options(self._session, self._component, url)
        target = self._targets[url.scheme, url.raw_authority] = _Target(self._session, url, options)
        return target

    def forget_targets(self) -> None:
        """Open a new connection for each request that begins from now on."""
        self._targets = {}


class _Target:
    """One server.

    Attributes:
        request: the key of its connections in aiohttp's pool.
        answered: whether it has ever answered.
        closes_early: whether it has ever said that it closes idle connections earlier than usual.
    """

    answered = False
    closes_early = False

    def __init__(self, session: aiohttp.ClientSession, url: URL, options: Mapping[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        self.request = aiohttp.ClientRequest("GET", url, loop=loop, session=session, **options)
        self._usable_until = WeakKeyDictionary[ResponseHandler, float]()
        self._host = f" HTTP/1.1\r\nhost: {self.request.headers['host']}\r\n"

    def note_release(self, protocol: ResponseHandler | None, keep_alive: str) -> None:
        """Note that a connection is idle from now on, and what its server said of such ones."""
        seconds = read_keep_alive(keep_alive)
        if protocol is not None and seconds < USUAL_KEEP_ALIVE:
            self.closes_early = True
            self._usable_until[protocol] = time.monotonic() + seconds * IDLE_SHARE

    def is_stale(self, protocol: ResponseHandler | None) -> bool:
        """Return whether a connection was idle for so long that its server may be closing it."""
        return protocol is not None and self._usable_until.get(protocol, math.inf) < time.monotonic()

    def head(self, verb: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> bytes:
        """Return the request line and the headers."""
        text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        lines = len(headers)
        # To count takes 0.6 us less than to search, and 2 us less than to look at each header.
        if text.count("\n") != lines or text.count("\r") != lines or "\0" in text:
            check_headers(headers)
        if body is not None:
            text = f"{text}content-length: {len(body)}\r\n"
        return f"{verb} {url.raw_path_qs}{self._host}{text}\r\n".encode()


async def _exchange(
    protocol: ResponseHandler | None, head: bytes, body: bytes | None, limit: int, connected: float
) -> Answer:
    assert protocol is not None  # noqa: S101 - a new connection has one
    protocol.set_response_params(timer=_NO_TIMER, read_until_eof=True)
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
    transport.write(head + body if body else head)
    try:
        message, content = await protocol.read()
        while message.code in _INFORMATIONAL:
            message, content = await protocol.read()
    except HttpProcessingError as error:
        raise NotHTTPError(error.message) from error
    return Answer(message.code, message.headers, await read_body(content, limit), connected)


async def read_body(content: aiohttp.StreamReader, limit: int) -> bytes:
    """Read a whole body.

    Raises:
        TooLargeError: it has more bytes than the limit.
    """
    body = await content.readany()  # mostly the whole body
    chunks, size = [body], len(body)
    while size <= limit and (chunk := await content.readany()):
        chunks.append(chunk)
        size += len(chunk)
    if size > limit:
        raise TooLargeError
    return body if len(chunks) == 1 else b"".join(chunks)
