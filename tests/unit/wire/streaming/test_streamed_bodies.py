"""Frames of streams: however the bytes are split, the same frames come out; what is no frame is an error, no growth."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore import CommunicationError, LocalError, MeshError, Service, describe, service
from meshcore.codec.codec import JSON, MSGPACK, Codec, Limits
from meshcore.codec.errors import DecodeError, EncodeError
from meshcore.wire.streaming.streamed_bodies import FrameReader, FrameTooLargeError, StreamCodec, write_frame

LIMIT = 64
CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
CONTENT = {
    JSON: st.lists(st.binary(min_size=1, max_size=LIMIT).filter(lambda data: b"\n" not in data and data.strip())),
    MSGPACK: st.lists(st.binary(max_size=LIMIT)),
}


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes in pieces."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@CODECS
@given(st.data(), st.lists(st.integers(0, 10**6), max_size=20))
def test_every_split_of_a_body_gives_its_frames(codec: Codec, data: st.DataObject, cuts: list[int]) -> None:
    """In order, none lost, none twice."""
    frames = data.draw(CONTENT[codec])
    body = b"".join(write_frame(codec, frame) for frame in frames)
    reader = FrameReader(codec, LIMIT)
    found = [frame for piece in pieces(body, cuts) for frame in reader.feed(piece)]
    assert [*found, *reader.end()] == frames


@CODECS
@given(st.lists(st.binary(max_size=200), max_size=20))
def test_random_bytes_are_frames_or_an_error(codec: Codec, chunks: list[bytes]) -> None:
    """No frame is larger than the limit, and never is more than one kept."""
    reader = FrameReader(codec, LIMIT)
    try:
        for chunk in chunks:
            assert all(len(frame) <= LIMIT for frame in reader.feed(chunk))
            assert len(reader._left) <= LIMIT + 4
        reader.end()
    except (FrameTooLargeError, DecodeError):
        pass


def test_lines_need_no_end_and_may_be_empty() -> None:
    """As people write them."""
    reader = FrameReader(JSON, LIMIT)
    assert reader.feed(b"1\n\n  \n2\r\n3") == [b"1", b"2\r"]
    assert reader.end() == [b"3"]
    assert reader.end() == []


def test_a_body_that_ends_within_a_frame_is_cut_off() -> None:
    """The length says so."""
    reader = FrameReader(MSGPACK, LIMIT)
    assert reader.feed(b"\0\0\0\x02a") == []
    with pytest.raises(DecodeError, match="ends within a frame"):
        reader.end()


@service()
class Shop(Service):
    @abstractmethod
    def watch(self, sku: str) -> AsyncIterator[int]: ...

    @abstractmethod
    async def put(self, before: int, items: AsyncIterator[int], after: int = 5) -> str: ...


@CODECS
def test_the_stream_of_a_caller_is_left_out_of_the_arguments(codec: Codec) -> None:
    """And put in again."""
    method = describe(Shop).method("put")
    assert method is not None
    stream = StreamCodec(codec, "shop", method, Limits())
    items = object()
    assert stream.without_stream((1, items, 5)) == (1, 5)
    assert stream.arguments((1, 5), items) == (1, items, 5)
    (frame,) = FrameReader(codec, LIMIT).feed(stream.encode_sent(7))
    assert stream.decode_sent(frame) == 7
    with pytest.raises(LocalError, match="an item of 'items'"):
        stream.encode_sent(object())
    with pytest.raises(MeshError, match="an item of 'items'"):
        stream.decode_sent(codec.encoder(str)("x"))


@CODECS
def test_an_item_of_an_answer_is_told_from_its_end(codec: Codec) -> None:
    """And is checked on both sides."""
    method = describe(Shop).method("watch")
    assert method is not None
    stream = StreamCodec(codec, "shop", method, Limits())
    (frame,) = FrameReader(codec, LIMIT).feed(stream.encode_received(7))
    assert stream.is_item(frame)
    assert stream.decode_received(frame) == 7
    assert not stream.is_item(stream.call.encode_result(None))
    with pytest.raises(EncodeError):
        stream.encode_received("x")
    with pytest.raises(CommunicationError, match=r"the answer to shop\.watch does not fit"):
        stream.decode_received(frame.replace(codec.encoder(int)(7), codec.encoder(str)("x")))
