"""Answers of the dispatch channels that are a sequence of frames."""

from __future__ import annotations

from meshcore.core.call import SendItem
from meshcore.wire.answer import Answer, StreamedAnswer
from meshcore.wire.streaming.streamed_bodies import FrameReader, FrameTooLargeError, StreamCodec

from .http_errors import cut_off, item_too_large


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
            raise item_too_large(method, limit) from None
        for frame in frames:
            if not codec.is_item(frame):
                return Answer(answer.status, answer.headers, frame)
            await send(codec.decode_received(frame))
    raise cut_off(method)
