"""The network in memory: requests go to ASGI applications on the same event loop, without a socket.

What a server and its client see of each other is what they see over HTTP: bytes, headers, and that the other one left.
Each request runs in a task and a context of its own, as under a server, so nothing else passes between the two.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Mapping, MutableMapping
from contextvars import Context
from typing import Any, cast

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from meshcore.asgi.messages import Application
from meshcore.declare.advice import Invocation, advice, around, methods
from meshcore.ports.channel import Channel

_NO_HEADER = re.compile(r"[\r\n\0]")
_INTERNAL_ERROR = 500


class Answer(msgspec.Struct, frozen=True):
    """An answer, whole; what `HTTPChannel.transmit` returns.

    Attributes:
        status: of HTTP.
        headers: names of any case find them.
        body: all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Loopback:
    """The servers that can be reached in memory.

    Attributes:
        requests: how many were taken to a server.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._applications: dict[str, Application | None] = {}
        self._running: dict[_Request, asyncio.Task[None]] = {}

    def serve(self, url: str, application: Application) -> None:
        """Let an application answer under a URL."""
        self._applications[URL(url).raw_authority] = application

    def refuse(self, url: str) -> None:
        """Let nobody listen under a URL any more; requests that run go on."""
        self._applications[URL(url).raw_authority] = None

    def knows(self, url: URL) -> bool:
        """Whether the URL is one of this network's, also if nobody listens there."""
        return url.raw_authority in self._applications

    async def transmit(self, verb: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Take a request to its application and bring the answer. Who is cancelled has closed the connection.

        Raises:
            aiohttp.ClientConnectionResetError: nobody listens; as over the network, the request was not sent.
            aiohttp.ServerDisconnectedError: the application ended without a whole answer.
            ValueError: a header cannot be sent.
        """
        application = self._applications[url.raw_authority]
        if application is None:
            raise aiohttp.ClientConnectionResetError(errno.ECONNREFUSED, "Connection refused")
        if _NO_HEADER.search("".join([*headers, *headers.values()])):
            raise ValueError(f"control characters in the headers {dict(headers)}")
        self.requests += 1
        loop = asyncio.get_running_loop()
        request = _Request(verb, url, headers, body or b"", loop.create_future())
        # A context of its own: over the network neither deadline nor anything else of the caller's would be there.
        coroutine = self._run(request, application)
        self._running[request] = loop.create_task(coroutine, name="meshcore.testing.request", context=Context())
        try:
            return await request.answer
        finally:
            request.leave()

    async def _run(self, request: _Request, application: Application) -> None:
        try:
            await request.run(application)
        finally:
            self._running.pop(request, None)

    async def aclose(self) -> None:
        """Return when no request runs any more; those that do are cancelled, as by a server that is closed."""
        running, self._running = self._running, {}
        for task in running.values():
            task.cancel()
        if running:
            await asyncio.wait(running.values())
        for request in running:
            request.end()  # one that had not begun could not do so by itself


class _Request:
    """One request at its application.

    Attributes:
        answer: what comes of it.
    """

    def __init__(
        self, verb: str, url: URL, headers: Mapping[str, str], body: bytes, answer: asyncio.Future[Answer]
    ) -> None:
        self.answer = answer
        self._left = False
        self._leaving: asyncio.Event | None = None  # made when somebody waits for it, which is rare
        self._message: dict[str, Any] | None = {"type": "http.request", "body": body, "more_body": False}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        host = url.raw_authority
        self._scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": verb,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.encode(),
            "query_string": url.raw_query_string.encode(),
            "root_path": "",
            "headers": [(b"host", host.encode()), (b"content-length", b"%d" % len(body)), *raw],
            "client": ("memory", 0),
            "server": (url.host, url.port),
        }
        self._status = 0
        self._headers: CIMultiDict[str]
        self._chunks: list[bytes] = []

    async def run(self, application: Application) -> None:
        """Let the application answer, and do for what it does not answer what a server does."""
        try:
            await application(self._scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - the client gets what it would get over the network
            if not self._status and not self.answer.done():
                self.answer.set_result(Answer(_INTERNAL_ERROR, CIMultiDict(), repr(error).encode()))
        finally:
            self.end()

    def end(self) -> None:
        """Close the connection: who still waits for an answer gets none."""
        if not self.answer.done():
            self.answer.set_exception(aiohttp.ServerDisconnectedError())

    def leave(self) -> None:
        """The client does not listen any more."""
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


@advice
class LoopbackAdvice:
    """Takes the requests of all channels over HTTP that are for servers in memory to them, the others on.

    A client's module provides it, and a `Loopback` for its constructor.
    """

    def __init__(self, loopback: Loopback) -> None:
        self._loopback = loopback

    # By name, since channels are adapters, which nothing in meshcore imports.
    @around(methods().named("transmit").of_type(Channel))
    def transmit(self, invocation: Invocation) -> Any:
        """In place of `HTTPChannel.transmit`; gives what has to be awaited."""
        _, _, verb, url, headers, body = invocation.args
        if self._loopback.knows(cast("URL", url)):
            return self._loopback.transmit(verb, url, headers, body)
        return invocation.proceed()
