"""Requests in memory whose body or answer streams: chunk by chunk, each side as fast as the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import suppress
from typing import Any

import aiohttp
from multidict import CIMultiDict

from meshcore.core.streaming.item_buffer import StreamClosedError
from meshcore.core.streaming.pipe import Items, Pipe
from meshcore.wire.answer import StreamedAnswer

_CHUNKS = 4
"""Chunks that are on their way at once, as in the buffers of a connection."""


class StreamedExchange:
    """One request to an application, and its answer.

    Args:
        scope: of ASGI.
        body: of the request.
    """

    def __init__(self, scope: MutableMapping[str, Any], body: bytes | AsyncIterator[bytes]) -> None:
        self._scope = scope
        self._body = body
        self._answer: asyncio.Future[tuple[int, CIMultiDict[str]]] = asyncio.get_running_loop().create_future()
        self._sent = Pipe(_CHUNKS)
        self._received = Pipe(_CHUNKS)
        self._left = asyncio.Event()
        self._complete = False  # whether the application has got the whole body

    async def run(self, application: Any) -> None:
        """Run the application. If it ends without a whole answer, the connection breaks."""
        error: Exception = aiohttp.ServerDisconnectedError()
        try:
            await application(self._scope, self._receive, self._send)
        finally:
            self._sent.close()
            self._received.end(error)
            if not self._answer.done():
                self._answer.set_exception(error)
                self._answer.exception()  # nobody may be there to hear it

    async def answer(self) -> StreamedAnswer:
        """The head of the answer, as soon as it comes.

        Raises:
            aiohttp.ClientError: it does not come.
        """
        status, headers = await self._answer
        return StreamedAnswer(status, headers, Items(self._received))

    async def write(self) -> None:
        """Send the body, until it or the exchange ends. What fails to make it breaks the connection."""
        try:
            if isinstance(self._body, bytes):
                await self._sent.send(self._body)
            else:
                async for chunk in self._body:
                    await self._sent.send(chunk)
            self._sent.end()
        except StreamClosedError:
            return
        except Exception:  # noqa: BLE001 - of the caller, who keeps it
            self.break_off()
            if not self._answer.done():
                self._answer.set_exception(aiohttp.ServerDisconnectedError())

    def break_off(self) -> None:
        """End the exchange: the client has left."""
        self._left.set()
        self._sent.end(StreamClosedError())
        self._received.close()

    async def _receive(self) -> MutableMapping[str, Any]:
        try:
            if chunks := await self._sent.receive_all():
                return {"type": "http.request", "body": b"".join(chunks), "more_body": True}
        except StreamClosedError:
            return {"type": "http.disconnect"}
        if not self._complete:
            self._complete = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            raw = message.get("headers", ())
            headers = CIMultiDict([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])
            if not self._answer.done():
                self._answer.set_result((message["status"], headers))
            return
        with suppress(StreamClosedError):  # ASGI does not tell either that the client has left
            if body := message.get("body", b""):
                await self._received.send(body)
        if not message.get("more_body"):
            self._received.end()
