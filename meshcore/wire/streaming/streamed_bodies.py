"""The dispatch wire of streams: one HTTP exchange, in which the request or the answer is a sequence of frames.

A frame is a line of JSON, or msgpack after four bytes that hold its length (big-endian). Every request begins with the
call, as for any other method, but without the argument that is a stream; each further frame is one item of that. The
answer to a method that streams its result is frames `{"item": ...}`, and at last an answer as any other: its
`exception` is the error that the stream ended with. So an answer without that last frame was cut off. Whatever fails
before the first item is answered as a call that does not stream.
"""

from __future__ import annotations

import msgspec

from meshcore.codec.codec import JSON, MSGPACK, Codec, Limits
from meshcore.codec.errors import DecodeError
from meshcore.core.description import Method
from meshcore.wire.dispatch import MethodCodec
from meshcore.wire.streaming.item_codec import ItemCodec

_LENGTH = 4

CONTENT_TYPES = {JSON: "application/x-ndjson", MSGPACK: "application/x-msgpack-frames"}
"""Of bodies that are frames."""

_ITEM_HEADS = {JSON: b'{"item":', MSGPACK: b"\x81" + msgspec.msgpack.encode("item")}
_ITEM_TAILS = {JSON: b"}", MSGPACK: b""}


class FrameTooLargeError(Exception):
    """A frame has more bytes than allowed."""


def write_frame(codec: Codec, data: bytes) -> bytes:
    """Make a frame of what was encoded."""
    return data + b"\n" if codec is JSON else len(data).to_bytes(_LENGTH) + data


class FrameReader:
    """Splits a body into its frames. Pure: it is given the bytes as they come.

    Args:
        codec: the format.
        limit: the bytes that a frame may have.
        blank: whether empty lines are frames, too. Else they are left out.
    """

    def __init__(self, codec: Codec, limit: int, *, blank: bool = False) -> None:
        self._lines = codec is JSON
        self._limit = limit
        self._blank = blank
        self._left = bytearray()
        self._searched = 0  # bytes of these that contain no end of a line

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete with these bytes.

        Raises:
            FrameTooLargeError: one is larger than the limit.
        """
        self._left += data
        frames = self._split_lines() if self._lines else self._split_lengths()
        if len(self._left) > self._limit + _LENGTH:
            raise FrameTooLargeError
        return frames

    def end(self) -> list[bytes]:
        """The frame that the end of the body completes: a last line need not be ended.

        Raises:
            DecodeError: the body ends within a frame.
        """
        left = bytes(self._left)
        self._left.clear()
        if self._lines:
            return [left] if left.strip() else []
        if left:
            raise DecodeError("$", "the body ends within a frame")
        return []

    def _split_lines(self) -> list[bytes]:
        end = self._left.rfind(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._left)
            return []
        lines = bytes(self._left[:end]).split(b"\n")
        del self._left[: end + 1]
        self._searched = len(self._left)
        if any(len(line) > self._limit for line in lines):
            raise FrameTooLargeError
        return lines if self._blank else [line for line in lines if line.strip()]

    def _split_lengths(self) -> list[bytes]:
        frames: list[bytes] = []
        at = 0
        while len(self._left) - at >= _LENGTH:
            size = int.from_bytes(self._left[at : at + _LENGTH])
            if size > self._limit:
                raise FrameTooLargeError
            if len(self._left) - at < _LENGTH + size:
                break
            frames.append(bytes(self._left[at + _LENGTH : at + _LENGTH + size]))
            at += _LENGTH + size
        del self._left[:at]
        return frames


class StreamCodec(ItemCodec):
    """Encodes and decodes the frames of one streaming method in one format, for clients and servers; built once.

    Attributes:
        codec: the format.
        call: the call without its streams.
    """

    def __init__(self, codec: Codec, component: str, method: Method, limits: Limits) -> None:
        super().__init__(codec, method, limits)
        self.codec = codec
        self.call = MethodCodec(codec, component, self.plain, limits)
        self._head, self._tail = _ITEM_HEADS[codec], _ITEM_TAILS[codec]

    def encode_sent(self, item: object) -> bytes:
        """The frame of an item of the caller's stream.

        Raises:
            LocalError: it cannot be encoded.
        """
        return write_frame(self.codec, super().encode_sent(item))

    def encode_received(self, item: object) -> bytes:
        """The frame of an item of the result.

        Raises:
            EncodeError: it does not fit the method's type.
        """
        return write_frame(self.codec, self._head + super().encode_received(item) + self._tail)

    def is_item(self, data: bytes) -> bool:
        """Whether a frame of an answer is an item, and not the end."""
        return data.startswith(self._head)

    def decode_received(self, data: bytes) -> object:
        """An item of the result.

        Raises:
            CommunicationError: it does not fit the interface.
        """
        return super().decode_received(data[len(self._head) : len(data) - len(self._tail)])
