"""A network in memory: requests go to ASGI applications on the same event loop, without sockets.

Server and client exchange what they exchange over HTTP: bytes, headers, and the end of the connection. Each request
runs in a task and a context of its own, as in a real server, so they share nothing else.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, cast

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from meshcore.asgi.messages import PEER, Application
from meshcore.core.caller import ANONYMOUS, Caller, Peer
from meshcore.declare.advice import Invocation, advice, around, methods
from meshcore.ports.channel import Channel
from meshcore.testing.loopback_streams import StreamedExchange
from meshcore.testing.memory_websocket import MemoryWebSocket
from meshcore.wire.answer import Answer, StreamedAnswer
from meshcore.wire.headers import check_headers

_INTERNAL_ERROR = 500


class Loopback:
    """The servers in memory.

    Args:
        caller: who calls, as the servers see it.

    Attributes:
        requests: how many have reached a server.
    """

    def __init__(self, caller: Caller = ANONYMOUS) -> None:
        self.requests = 0
        self._peer = Peer("memory", caller)
        self._applications: dict[str, Application | None] = {}
        self._running: dict[_Request, asyncio.Task[None]] = {}
        self._websockets = set[MemoryWebSocket]()
        self._streaming: set[asyncio.Task[None]] = set()

    def serve(self, url: str, application: Application) -> None:
        """Serve an application at a URL."""
        self._applications[URL(url).raw_authority] = application

    def refuse(self, url: str) -> None:
        """Refuse new requests to a URL. Requests in progress go on."""
        self._applications[URL(url).raw_authority] = None

    def knows(self, url: URL) -> bool:
        """Return whether a URL belongs to this network, also if requests to it are refused."""
        return url.raw_authority in self._applications

    async def transmit(self, verb: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Send a request to its application, and return the answer. Cancellation closes the connection.

        Raises:
            aiohttp.ClientConnectionResetError: the request is refused. As over the network, it was not sent.
            aiohttp.ServerDisconnectedError: the application ended without a whole answer.
            ValueError: a header cannot be sent.
        """
        application = self._applications[url.raw_authority]
        if application is None:
            raise aiohttp.ClientConnectionResetError(errno.ECONNREFUSED, "Connection refused")
        check_headers(headers)
        self.requests += 1
        loop = asyncio.get_running_loop()
        request = _Request(verb, url, headers, body or b"", loop.create_future(), self._peer)
        # In an empty context: the server must not see the deadline or another context variable of the caller.
        coroutine = self._run(request, application)
        self._running[request] = loop.create_task(coroutine, name="meshcore.testing.request", context=Context())
        try:
            return await request.answer
        finally:
            request.leave()

    @asynccontextmanager
    async def stream(
        self, verb: str, url: URL, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes] | None
    ) -> AsyncGenerator[StreamedAnswer]:
        """Send a request whose body or answer streams. To leave the context closes the connection.

        Raises:
            aiohttp.ClientConnectionResetError: the request is refused. As over the network, it was not sent.
            aiohttp.ServerDisconnectedError: the application ended without a whole answer.
        """
        application = self._applications[url.raw_authority]
        if application is None:
            raise aiohttp.ClientConnectionResetError(errno.ECONNREFUSED, "Connection refused")
        self.requests += 1
        chunked = [(b"transfer-encoding", b"chunked")] if body is not None else []
        exchange = StreamedExchange(_scope_of(verb, url, headers, chunked, self._peer), body or b"")
        loop = asyncio.get_running_loop()
        running = loop.create_task(exchange.run(application), name="meshcore.testing.request", context=Context())
        self._streaming.add(running)
        running.add_done_callback(self._streaming.discard)
        writing = loop.create_task(exchange.write())
        try:
            yield await exchange.answer()
        finally:
            writing.cancel()
            exchange.break_off()
            await asyncio.wait([writing])

    async def _run(self, request: _Request, application: Application) -> None:
        try:
            await request.run(application)
        finally:
            self._running.pop(request, None)

    async def dial(self, url: URL) -> MemoryWebSocket:
        """Open a WebSocket to an application.

        Raises:
            aiohttp.ClientConnectionResetError: connections are refused.
            aiohttp.ServerDisconnectedError: the application does not accept it.
        """
        application = self._applications[url.raw_authority]
        if application is None:
            raise aiohttp.ClientConnectionResetError(errno.ECONNREFUSED, "Connection refused")
        websocket = MemoryWebSocket(url, self._peer)
        self._websockets.add(websocket)
        websocket.over.add_done_callback(lambda _: self._websockets.discard(websocket))
        await websocket.open(application)
        return websocket

    async def aclose(self) -> None:
        """Cancel all requests in progress, as a server does that is closed, and wait for their ends."""
        for websocket in tuple(self._websockets):
            await websocket.close()
        running, self._running = self._running, {}
        tasks = {*running.values(), *self._streaming}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for request in running:
            request.end()  # for requests that had not begun


class _Request:
    """One request to an application.

    Attributes:
        answer: the future answer.
    """

    def __init__(
        self,
        verb: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes,
        answer: asyncio.Future[Answer],
        peer: Peer,
    ) -> None:
        self.answer = answer
        self._left = False
        self._leaving: asyncio.Event | None = None  # made when the application waits for the disconnect, which is rare
        self._message: dict[str, Any] | None = {"type": "http.request", "body": body, "more_body": False}
        self._scope = _scope_of(verb, url, headers, [(b"content-length", b"%d" % len(body))], peer)
        self._status = 0
        self._headers: CIMultiDict[str]
        self._chunks: list[bytes] = []

    async def run(self, application: Application) -> None:
        """Run the application. If it raises, answer with status 500, as a server does."""
        try:
            await application(self._scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - any error becomes a response
            if not self._status and not self.answer.done():
                self.answer.set_result(Answer(_INTERNAL_ERROR, CIMultiDict(), repr(error).encode()))
        finally:
            self.end()

    def end(self) -> None:
        """Close the connection. A client that still waits gets an error."""
        if not self.answer.done():
            self.answer.set_exception(aiohttp.ServerDisconnectedError())

    def leave(self) -> None:
        """Report that the client has closed the connection."""
        self._left = True
        if self._leaving is not None:
            self._leaving.set()

    async def _receive(self) -> MutableMapping[str, Any]:
        message, self._message = self._message, None
        if message is None:
            if not self._left:
                self._leaving = self._leaving or asyncio.Event()
                await self._leaving.wait()
            return {"type": "http.disconnect"}
        return message

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            raw = message.get("headers", ())
            self._headers = CIMultiDict([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])
            return
        self._chunks.append(message.get("body", b""))
        if not message.get("more_body") and not self.answer.done():
            self.answer.set_result(Answer(self._status, self._headers, b"".join(self._chunks)))


def _scope_of(
    verb: str, url: URL, headers: Mapping[str, str], length: Sequence[tuple[bytes, bytes]], peer: Peer
) -> MutableMapping[str, Any]:
    """The scope of a request. `length` is the header that tells the size of its body."""
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": verb,
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.encode(),
        "query_string": url.raw_query_string.encode(),
        "root_path": "",
        "headers": [(b"host", url.raw_authority.encode()), *length, *raw],
        "client": (peer.host, 0),
        PEER: peer,
        "server": (url.host, url.port),
    }


@advice
class LoopbackAdvice:
    """Sends the requests of channels over HTTP to the servers in memory. Requests to other URLs go on as usual.

    The module of a client provides it, and a `Loopback` for its constructor.
    """

    def __init__(self, loopback: Loopback) -> None:
        self._loopback = loopback

    # By name: `HTTPChannel` is an adapter, which meshcore itself does not import.
    @around(methods().named("transmit").of_type(Channel))
    def transmit(self, invocation: Invocation) -> Any:
        """Replace `HTTPChannel.transmit`. Returns an awaitable."""
        _, _, verb, url, headers, body = invocation.args
        if self._loopback.knows(cast("URL", url)):
            return self._loopback.transmit(verb, url, headers, body)
        return invocation.proceed()

    @around(methods().named("dial").of_type(Channel))
    def dial(self, invocation: Invocation) -> Any:
        """Replace `StreamMsgpackChannel.dial`. Returns an awaitable."""
        url = cast("URL", invocation.args[1])
        return self._loopback.dial(url) if self._loopback.knows(url) else invocation.proceed()

    @around(methods().named("transmit_stream").of_type(Channel))
    def transmit_stream(self, invocation: Invocation) -> Any:
        """Replace `HTTPChannel.transmit_stream`. Returns an async context manager."""
        _, _, verb, url, headers, body = invocation.args
        if self._loopback.knows(cast("URL", url)):
            return self._loopback.stream(verb, url, headers, body)
        return invocation.proceed()
