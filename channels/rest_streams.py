"""Streaming calls of the channel `rest`: bodies of JSON lines, and answers of JSON lines or server-sent events."""

from __future__ import annotations

from collections.abc import Iterable

from meshcore.codec.codec import JSON, Limits
from meshcore.core.call import Call, SendItem
from meshcore.core.description import Method
from meshcore.wire.answer import StreamedAnswer
from meshcore.wire.streaming.item_codec import ItemCodec
from meshcore.wire.streaming.rest_streams import END_MARK, MARKED, Kind, Part, part_reader
from meshcore.wire.streaming.streamed_bodies import FrameTooLargeError

from .http_errors import cut_off, item_too_large
from .http_streams import StreamRequest


class RestStream:
    """Writes the requests and reads the answers of one streaming method.

    Args:
        method: which.
        limits: for decoding.
    """

    def __init__(self, method: Method, limits: Limits) -> None:
        self._method = method
        self._items = ItemCodec(JSON, method, limits)

    def request(self, call: Call, body: bytes | None) -> StreamRequest:
        """The request of a call, whose body is this one if the caller streams nothing."""
        return StreamRequest(call, lambda item: self._items.encode_sent(item) + b"\n", body)

    async def receive(self, answer: StreamedAnswer, send: SendItem, limit: int) -> bytes | None:
        """Pass the items of an answer on. Returns the problem that it ended with, None if it ended in order.

        Raises:
            CommunicationError: the answer was cut off, has an item that is too large, or does not fit the interface.
        """
        marked = answer.headers.get(END_MARK) == MARKED
        reader = part_reader(answer.headers.get("content-type", ""), limit, marked=marked)
        try:
            async for chunk in answer.chunks:
                last = await self._pass_on(reader.feed(chunk), send)
                if last is not None:
                    return last.data if last.kind is Kind.PROBLEM else None
            last = await self._pass_on(reader.finish(), send)
        except FrameTooLargeError:
            raise item_too_large(self._method, limit) from None
        if last is not None and last.kind is Kind.PROBLEM:
            return last.data
        if marked:
            raise cut_off(self._method)
        return None

    async def _pass_on(self, parts: Iterable[Part], send: SendItem) -> Part | None:
        """Send the items on. Returns the part that is no item, None if all are."""
        for part in parts:
            if part.kind is not Kind.ITEM:
                return part
            await send(self._items.decode_received(part.data))
        return None
