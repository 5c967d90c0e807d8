"""One call with items on a connection that carries many: a result that streams, a parameter that does, or both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from meshcore.asgi.served_call import Answer
from meshcore.asgi.stream.call import Answers, StreamCall
from meshcore.core.context.call_scope import Stop
from meshcore.core.description import Method
from meshcore.core.errors import Code, MeshError
from meshcore.core.streaming.pipe import wait_for_loop
from meshcore.server.request import ServedRequest
from meshcore.server.streaming.server import StreamingServer
from meshcore.stream.driver import Driver
from meshcore.stream.items import ReceivedItems, SentItems
from meshcore.telemetry.calls import Calls
from meshcore.wire.stream_codec import too_large
from meshcore.wire.streaming.item_codec import ItemCodec


class StreamingCall(StreamCall, eq=False, kw_only=True):
    """One call.

    Attributes:
        streamed: encodes and decodes its items.
        driver: of its connection.
        received: the items of its caller.
        sent: the items of its result.
    """

    streamed: ItemCodec
    driver: Driver
    received: ReceivedItems
    sent: SentItems
    _request: ServedRequest | None = None

    def leave(self) -> None:
        """Stop what runs, at once. An implementation that waits for items gets an error from them instead."""
        super().leave()
        waits = self.received.awaited
        self.received.end(MeshError(Code.CANCELED, "the caller's items ended before their end: it has left"))
        self.sent.close()
        if self._request is not None and not waits:
            self._request.stop(Stop.CLIENT_LEFT)

    def arguments(self, body: bytes) -> tuple[Any, ...]:
        """Its arguments, with the caller's items among them.

        Raises:
            LocalError: they do not fit the method.
        """
        values = super().arguments(body)
        items = CallerItems(self.received, self.streamed.decode_sent)
        self.driver.connection.release(self.number)  # of the payload, which would count as long as the stream lives
        return self.streamed.arguments(values, items)

    async def run(
        self, server: StreamingServer, request: ServedRequest, method: Method, arguments: tuple[Any, ...]
    ) -> Any:
        """Run it, and send its items.

        Raises:
            Exception: as `StreamingServer.run_stream`.
        """
        if self.gone:
            raise MeshError(Code.CANCELED, f"{method} was stopped: client left", processed=False)
        self._request = request
        try:
            return await server.run_stream(request, method, arguments, self._send)
        except BaseException:
            self.sent.close()  # threads that go on are told so
            raise
        finally:
            self._request = None
            self.received.close()

    async def _send(self, item: Any) -> None:
        payload = self.streamed.encode_received(item)
        if len(payload) > self.answers.longest:
            raise too_large(self.streamed.method, len(payload), self.answers.longest, "an item of the answer")
        await self.sent.send(payload)

    def result(self, value: Any) -> Answer[Answers]:
        """The answer with a result; the end of the items, if it streams."""
        return StreamEnd(self.sent) if self.streamed.method.yields else super().result(value)


class StreamEnd:
    """The end of the items of a result. It follows them, however slowly they are read."""

    __slots__ = ("_items", "size")

    def __init__(self, items: SentItems) -> None:
        self._items = items
        self.size = 0

    async def send(self, send: Answers, *, close: bool) -> None:  # noqa: ARG002 - as that of a `StreamAnswer`
        """Send it."""
        self._items.end()


class CallerItems(AsyncIterator[Any]):
    """The items of a caller, as the implementation reads them.

    Args:
        received: has them, encoded.
        decode: reads one.

    Attributes:
        calls: counts them.
    """

    calls = Calls("", "")

    def __init__(self, received: ReceivedItems, decode: Callable[[bytes], Any]) -> None:
        self._received = received
        self._decode = decode

    async def __anext__(self) -> Any:
        payload = await self._received.next()
        if payload is None:
            raise StopAsyncIteration
        self.calls.received += 1
        return self._decode(payload)

    def blocking(self, loop: Any) -> Iterator[Any]:
        """The same for a thread.

        Args:
            loop: on which they come.
        """
        while payloads := wait_for_loop(loop, self._next_all()):
            self.calls.received += len(payloads)
            for payload in payloads:
                yield self._decode(payload)

    async def _next_all(self) -> list[bytes]:
        payloads = await self._received.next_all()
        for payload in payloads:
            self._received.consumed(payload)
        return payloads
