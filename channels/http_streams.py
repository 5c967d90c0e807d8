"""Requests and answers over HTTP that stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from meshcore.core.call import Call
from meshcore.wire.answer import Answer, StreamedAnswer

from .http import StreamBody
from .http_errors import too_large


class StreamRequest:
    """The body of one request.

    Args:
        call: with the caller's stream among its arguments, if it has one.
        encode: makes bytes of an item.
        first: what comes before the items, None if there is nothing else.

    Attributes:
        error: what the caller's stream ended with, None if it did not fail.
    """

    def __init__(self, call: Call, encode: Callable[[object], bytes], first: bytes | None) -> None:
        self._call = call
        self._encode = encode
        self._first = first
        self.error: Exception | None = None

    @property
    def body(self) -> StreamBody:
        """In chunks, if the caller streams something."""
        at = self._call.method.stream_at
        return self._first if at is None else self._chunks(at)

    async def _chunks(self, at: int) -> AsyncIterator[bytes]:
        if self._first is not None:
            yield self._first
        try:
            async for item in self._call.arguments[at]:
                yield self._encode(item)
        except Exception as error:
            self.error = error
            raise


async def read_whole(call: Call, answer: StreamedAnswer, limit: int) -> Answer:
    """Read a streamed answer to its end.

    Raises:
        CommunicationError: it has more bytes than the limit.
    """
    body = bytearray()
    async for chunk in answer.chunks:
        body += chunk
        if len(body) > limit:
            raise too_large(call, limit)
    return Answer(answer.status, answer.headers, bytes(body))
