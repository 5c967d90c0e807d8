"""`/stream`: the endpoint of the channel `stream-msgpack`. A WebSocket carries many calls, and messages many frames.

Why a WebSocket and not one long POST, whose request and answer go on side by side. Bare echoes of 369 bytes, client and
server in processes of their own, CPython 3.11, uvloop, on two busy cores: only ratios within a row say something.

    | server              | p50 us, 1 caller: POST / WS | CPU us, 64 callers, client + server: POST / WS |
    |---------------------|-----------------------------|------------------------------------------------|
    | hypercorn, asyncio  | 192 to 208 / 180 to 227     | 10.6 to 12.3 / 10.9 to 14.5                    |
    | hypercorn, uvloop   | 172 to 177 / 178 to 184     | 12.2 to 12.7 / 13.8 to 14.2                    |
    | uvicorn (wsproto)   | 100 to 149 / 112 to 140     | 7.8 to 8.5 / 10.2 to 11.3                      |

So a WebSocket takes about a tenth longer, and a fifth more of the processors. With what proxies do to a long POST that
is worth it. In front of the server stood nginx 1.22 and haproxy 2.6:

    | proxy                                     | long POST                         | WebSocket       |
    |-------------------------------------------|-----------------------------------|-----------------|
    | nginx, `proxy_pass` alone                 | hangs                             | refused at once |
    | nginx, with the usual lines for `Upgrade` | hangs                             | works           |
    | nginx, `proxy_request_buffering off`      | works for one caller, hung for 64 | refused at once |
    | haproxy, `mode http`                      | 420 ms for each call              | works           |
    | haproxy, `option http-buffer-request`     | hangs                             | works           |

What buffers a request does not say so, and a client could only find out by waiting. A WebSocket is let through or
refused. It is also what both ends have a public API for, with TLS and the options of a session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from meshcore.asgi.gate import Gate
from meshcore.asgi.invoke import unknown_method
from meshcore.asgi.messages import Receive, Scope, Send, peer_of
from meshcore.asgi.served_call import serve
from meshcore.asgi.stream.call import StreamCall
from meshcore.asgi.stream.headers import ConnectionHeaders
from meshcore.asgi.stream.streaming_call import StreamingCall
from meshcore.asgi.stream.turned_away import count_turned_away
from meshcore.asgi.stream.unary import serve_unary
from meshcore.asgi.stream.websocket import ServedWebSocket
from meshcore.codec.codec import Limits as DecodeLimits
from meshcore.core.caller import Peer
from meshcore.core.context.current_call import TRACE_HEADERS
from meshcore.core.description import ComponentDescription
from meshcore.core.errors import Code
from meshcore.security.tls.served_connection import told_to_leave
from meshcore.server.request import BodyError
from meshcore.server.streaming.server import StreamingServer
from meshcore.stream.driver import Driver, new_connection
from meshcore.stream.eager import start
from meshcore.stream.items import ReceivedItems, SentItems, pass_on
from meshcore.wire.endpoints import STREAM_PROTOCOL
from meshcore.wire.errors import ErrorBody
from meshcore.wire.frames import LARGEST
from meshcore.wire.headers import RequestHeaders
from meshcore.wire.stream.events import Canceled, Ended, Event, Item, Lost, Ready, Requested, TurnedAway, Writable
from meshcore.wire.stream.limits import Limits
from meshcore.wire.stream_codec import StreamCodec, encode_error

log = logging.getLogger(__name__)

_GRACE = 1.0
"""Seconds that a client has to close a connection on which no call is left, after it was told to go away.

If the server closed it first, while the client sends something, the client could lose the last answers with it.
"""
_NOT_READ = 5.0
"""Seconds that a client has to give up a call whose time is over while its answer is sent."""

_OF_HANDSHAKE = frozenset({b"connection", b"upgrade", b"content-length", b"accept", b"accept-encoding"}) | {
    name.encode()
    for name in TRACE_HEADERS  # the connection may have been opened in a trace, but its calls are of others
}


class Stream:
    """The ASGI endpoint."""

    def __init__(
        self,
        server: StreamingServer,
        components: Iterable[ComponentDescription],
        gate: Gate,
        max_body: int,
        limits: DecodeLimits,
    ) -> None:
        codecs = [
            StreamCodec(component.name, method, limits)
            for component in components
            for service in component.services
            for method in service.methods
        ]
        self._methods = {codec.path: codec for codec in codecs}
        self._server = server
        self._gate = gate
        ours = Limits.of_message(max_body)
        # A few large answers on one connection, which `max_unsent` bounds for all, are no reason to refuse small calls.
        self._limits = msgspec.structs.replace(ours, queued=min(max(ours.queued, server.max_unsent // 2), LARGEST))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        headers = RequestHeaders(scope["headers"])
        await receive()  # websocket.connect
        try:
            # Pages of other sites may open WebSockets, with the cookies of this one. So it counts as a write.
            self._gate.check_call(headers)
        except BodyError as error:
            log.warning("a connection from %s was refused: %s", peer_of(scope).host, error.message)
            await send({"type": "websocket.close"})
            return
        if STREAM_PROTOCOL not in scope.get("subprotocols", ()):
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept", "subprotocol": STREAM_PROTOCOL})
        raw = [(name, value) for name, value in scope["headers"] if not _is_of_handshake(name)]
        served = _Served(self._server, self._methods, self._limits, peer_of(scope), raw)
        await served.run(ServedWebSocket(receive, send))


def _is_of_handshake(name: bytes) -> bool:
    return name in _OF_HANDSHAKE or name.startswith(b"sec-websocket-")


class _Served:
    """One connection.

    Args:
        server: runs its calls.
        methods: by their names on the wire.
        limits: what is accepted.
        peer: the client.
        raw: the headers of the connection, which all its calls have.

    Attributes:
        longest: the bytes of the largest answer that the client takes.
    """

    def __init__(
        self,
        server: StreamingServer,
        methods: Mapping[str, StreamCodec],
        limits: Limits,
        peer: Peer,
        raw: Sequence[tuple[bytes, bytes]],
    ) -> None:
        self._server = server
        self._methods = methods
        self._peer = peer
        self._headers = ConnectionHeaders(raw)
        self._calls: dict[int, StreamCall] = {}
        self._streaming: dict[int, StreamingCall] = {}  # those of these that have items
        self._tasks: set[asyncio.Task[None]] = set()  # of the calls that wait for something
        self._connection = new_connection(client=False, limits=limits)
        self._driver: Driver
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.TimerHandle | None = None
        self.longest = 0

    async def run(self, websocket: ServedWebSocket) -> None:
        """Serve the connection until it is over and its calls have ended."""
        driver = self._driver = Driver(self._connection, websocket, self._handle, at_once=True)
        server = self._server
        server.drains.add(self._go_away)
        if server.draining:
            self._go_away()
        try:
            with told_to_leave(self._renew):
                await driver.run()
            await websocket.close()
            if self._tasks:  # the server stops those whose callers are gone, unless they are shielded
                await asyncio.wait(self._tasks)
        finally:
            server.drains.discard(self._go_away)
            if self._closing is not None:
                self._closing.cancel()
            for task in self._tasks:
                task.cancel()
        log.debug("a connection from %s is over: %s", self._peer.host, driver.over)

    def _handle(self, event: Event) -> None:
        match event:
            case Requested():
                self._begin(event)
            case Item() | Ended() | Writable():
                pass_on(event, self._streaming)
            case Canceled(call=number) | Lost(call=number):
                if (left := self._calls.get(number)) is not None:
                    left.leave()
            case Ready(limits=limits):
                self.longest = limits.message
            case TurnedAway():
                count_turned_away(self._server, event, self._headers.of(event.request), self._peer)
            case _:
                pass

    def _begin(self, event: Requested) -> None:
        number, path, items = event.call, event.method, event.items
        codec, headers, server = self._methods.get(path), self._headers.of(event), self._server
        if codec is not None and codec.items is not None:
            driver = self._driver
            stream = self._calls[number] = self._streaming[number] = StreamingCall(
                self,
                number,
                path,
                event.payload,
                items,
                headers,
                self._peer,
                streamed=codec.items,
                driver=driver,
                received=ReceivedItems(driver, number),
                sent=SentItems(driver, number),
            )
            self._run(stream, self._loop.create_task(serve(server, stream, self, partial(stream.run, server))))
            return
        call = self._calls[number] = StreamCall(self, number, path, event.payload, items, headers, self._peer)
        # What is wrong, `serve` says.
        run = serve(server, call, self) if codec is None or items else serve_unary(server, call, codec, self)
        # Most calls end before they wait. The loop does not hear of these, which saves 2 of 19 us, for a handle and a
        # callback; and their answers are there a turn earlier.
        self._run(call, start(self._loop, run))

    def _run(self, call: StreamCall, task: asyncio.Task[None]) -> None:
        if task.done():
            self._ended(call, task)
        else:
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, call))

    def _ended(self, call: StreamCall, task: asyncio.Task[None]) -> None:
        # No coroutine around that of the call, which would take 0.3 us.
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is not None:
            self._not_answered(call.number, task)
        del self._calls[call.number]
        if self._streaming:
            self._streaming.pop(call.number, None)
        if self._server.draining:
            self._close_if_done()

    def _not_answered(self, number: int, task: asyncio.Task[None]) -> None:
        """End a call whose task has failed on this side, or was cancelled by what it ran: its caller still waits."""
        if task.cancelled() and self._driver.over:  # with the connection
            return
        error = None if task.cancelled() else task.exception()
        what = "was cancelled at its server" if error is None else "failed"
        log.error("call %d of %s %s", number, self._peer.host, what, exc_info=error)
        text = "the call was cancelled at its server" if error is None else "internal error"
        with suppress(ValueError):  # its answer is on its way
            self.end(number, encode_error(ErrorBody(Code.INTERNAL.value, text)), failed=True)

    def find(self, path: str) -> StreamCodec:
        """The method of that name.

        Raises:
            LocalError: there is none.
        """
        codec = self._methods.get(path)
        if codec is None:
            raise unknown_method(path, self._methods)
        return codec

    def end(self, call: int, payload: bytes, *, failed: bool) -> None:
        """End a call."""
        (self._connection.error if failed else self._connection.answer)(call, payload)
        self._driver.wake()

    async def sent(self, call: int) -> None:
        """Return when the answer of a call has been written, or is not wanted any more."""
        while self._connection.is_sending(call) and not self._driver.over:
            await self._driver.progress()

    def not_read(self, call: int) -> None:
        """Disconnect the client, unless it gives the call up: it does so at the same time as this server."""

        def look() -> None:
            if self._connection.is_sending(call):
                self._driver.abort("an answer was not read in time")

        self._loop.call_later(_NOT_READ, look)

    def _go_away(self) -> None:
        self._connection.go_away("this instance is stopping")
        self._driver.wake()
        self._close_if_done()

    def _renew(self) -> None:
        self._connection.ask_for_another("a certificate was replaced, or expires")
        self._driver.wake()

    def _close_if_done(self) -> None:
        if self._server.draining and not self._calls and self._closing is None:
            self._closing = self._loop.call_later(_GRACE, self._driver.close, "this instance is stopping")
