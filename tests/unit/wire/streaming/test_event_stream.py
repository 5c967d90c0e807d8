"""Server-sent events: however the bytes are split, the events of the HTML standard come out of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.wire.streaming.event_stream import COMMENT, Event, EventReader, read_id, write_event, write_id
from meshcore.wire.streaming.streamed_bodies import FrameTooLargeError

LIMIT = 200
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=40)
NAMES = st.sampled_from(["", "end", "error", "other"])


def read(body: bytes, *cuts: int) -> list[Event]:
    """The events of a body that comes in pieces."""
    places = sorted({cut % (len(body) + 1) for cut in cuts})
    pieces = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]
    reader = EventReader(LIMIT)
    return [event for piece in pieces for event in reader.feed(piece)]


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=8), st.lists(st.integers(0, 10**6), max_size=20))
def test_what_is_written_is_read(events: list[tuple[str, str]], cuts: list[int]) -> None:
    """Also data with line breaks, and comments between the events."""
    body = COMMENT.join(write_event(data.encode(), name) for name, data in events)
    assert read(body, *cuts) == [Event(name or "message", data.encode()) for name, data in events]


@given(st.text(max_size=30))
def test_an_id_comes_back_in_a_header(text: str) -> None:
    """Any text does, in ASCII without spaces: proxies and browsers change nothing of that."""
    written = write_id(text)
    assert read_id(written) == text
    assert written.isascii()
    assert written.isprintable()
    assert written
    assert " " not in written
    body = write_event(b"5", key=written, retry=1.5)
    assert body == f"id: {written}\nretry: 1500\ndata: 5\n\n".encode()
    assert read(body) == [Event("message", b"5")]


@given(st.binary(max_size=300), st.lists(st.integers(0, 10**6), max_size=20))
def test_a_split_changes_nothing(body: bytes, cuts: list[int]) -> None:
    """Of any bytes, which are events or nothing, or too large."""
    try:
        whole = EventReader(10**6).feed(body)
    except FrameTooLargeError:  # pragma: no cover - they are not
        raise AssertionError from None
    try:
        assert read(body, *cuts) == whole
    except FrameTooLargeError:
        assert len(body) > LIMIT


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_examples_of_the_standard(end: bytes) -> None:
    """With each of its line ends, cut at every place."""
    lines = [b": test stream", b"", b"data: first event", b"id: 1", b"", b"data:second event", b"id", b""]
    lines += [
        b"data:  third event",
        b"",
        b"data",
        b"",
        b"data",
        b"data",
        b"",
        b"event: add",
        b"data: 1",
        b"retry: 9",
        b"",
    ]
    lines += [b"event: nothing", b"", b"data: not ended"]
    body = b"\xef\xbb\xbf" + end.join(lines)
    expected = [
        Event("message", b"first event"),
        Event("message", b"second event"),
        Event("message", b" third event"),
        Event("message", b""),
        Event("message", b"\n"),
        Event("add", b"1"),
    ]
    for cut in range(len(body) + 1):
        assert read(body, cut) == expected


def test_an_event_is_bounded() -> None:
    """In one line, and in many."""
    for part in (b"data: " + b"x" * 10, b"data: " + b"x" * 10 + b"\n"):
        reader = EventReader(LIMIT)
        with pytest.raises(FrameTooLargeError):
            _ = [reader.feed(part) for _ in range(LIMIT)]
