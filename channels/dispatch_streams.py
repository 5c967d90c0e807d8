"""Streaming calls of the dispatch channels: `POST /invoke/stream`, whose request or answer is a sequence of frames."""

from __future__ import annotations

from collections.abc import AsyncIterator

from meshcore.core.call import Call, SendItem
from meshcore.core.errors import Code, CommunicationError
from meshcore.wire.answer import Answer, StreamedAnswer
from meshcore.wire.streamed_bodies import FrameReader, FrameTooLargeError, StreamCodec, write_frame

from .http_errors import too_large


class StreamRequest:
    """The body of one request.

    Args:
        codec: of the method.
        call: with the caller's stream among its arguments.

    Attributes:
        error: what the caller's stream ended with, None if it did not fail.
    """

    def __init__(self, codec: StreamCodec, call: Call) -> None:
        self._codec = codec
        self._call = call
        self._first = write_frame(codec.codec, codec.call.encode_request(codec.without_stream(call.arguments)))
        self.error: Exception | None = None

    @property
    def body(self) -> bytes | AsyncIterator[bytes]:
        """Its frames: one if the caller streams nothing."""
        return self._first if self._codec.method.stream_at is None else self._frames(self._codec.method.stream_at)

    async def _frames(self, at: int) -> AsyncIterator[bytes]:
        yield self._first
        try:
            async for item in self._call.arguments[at]:
                yield self._codec.encode_sent(item)
        except Exception as error:
            self.error = error
            raise


async def receive_items(codec: StreamCodec, answer: StreamedAnswer, send: SendItem, limit: int) -> Answer:
    """Pass the items of an answer on. Returns its last frame, as an answer of its own.

    Raises:
        CommunicationError: the answer was cut off, has a frame that is too large, or does not fit the interface.
    """
    method = codec.method
    reader = FrameReader(codec.codec, limit)
    async for chunk in answer.chunks:
        try:
            frames = reader.feed(chunk)
        except FrameTooLargeError:
            text = f"an item of the answer to {method} is larger than {limit} bytes (setting max_body)"
            raise CommunicationError(Code.RESOURCE_EXHAUSTED, text, retryable=False) from None
        for frame in frames:
            if not codec.is_item(frame):
                return Answer(answer.status, answer.headers, frame)
            await send(codec.decode_received(frame))
    raise CommunicationError(Code.UNAVAILABLE, f"{method}: the answer was cut off in mid-stream")


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
