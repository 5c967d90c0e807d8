"""Bodies of requests, as servers tell of them."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.asgi.messages import ClientLeft, discard_body, read_body
from meshcore.server.request import BodyError
from meshcore.wire.headers import RequestHeaders, read_retry_after, write_retry_after, write_timeout


class Told:
    """What a server tells an application, message after message, and then nothing more."""

    def __init__(self, *parts: bytes, ended: bool = True) -> None:
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": True} for part in parts
        ]
        if ended:
            self.messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def __call__(self) -> dict[str, Any]:
        if not self.messages:
            return {"type": "http.disconnect"}
        return self.messages.pop(0)


@given(st.lists(st.binary(max_size=4), max_size=6), st.booleans(), st.integers(0, 20))
def test_a_body_is_what_its_parts_are(parts, known, limit):
    """However it is cut, and whether its length is known; nothing beyond the limit is taken."""
    whole = b"".join(parts)
    reading = read_body(Told(*parts), limit, len(whole) if known else None)
    if len(whole) <= limit:
        assert asyncio.run(reading) == whole
        return
    with pytest.raises(BodyError) as refused:
        asyncio.run(reading)
    assert refused.value.status == 413


async def test_a_body_that_is_whole_is_not_waited_for():
    """Its length says so; the message that says it too stays where it is."""
    told = Told(b"abc")
    assert await read_body(told, 10, 3) == b"abc"
    assert len(told.messages) == 1


async def test_a_client_that_leaves_before_the_end():
    """What it has sent is no body."""
    with pytest.raises(ClientLeft):
        await read_body(Told(b"ab", ended=False), 10, 3)


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], None),
        ([(b"content-length", b"12")], 12),
        ([(b"content-length", b"-1")], None),
        ([(b"content-length", b"3"), (b"transfer-encoding", b"chunked")], None),
    ],
)
def test_the_length_that_headers_tell(headers, length):
    """Chunks count themselves, whatever else is said."""
    assert RequestHeaders(headers).content_length == length


@given(st.floats(0, exclude_min=True, allow_infinity=True))
def test_what_is_left_of_a_caller_s_time_arrives(seconds: float) -> None:
    """However long it is: a number that is too long to be read would look like a caller of another wire."""
    headers = RequestHeaders([(b"mesh-timeout-ms", write_timeout(seconds).encode())])
    assert headers.seconds is not None
    assert headers.seconds == pytest.approx(min(max(seconds, 0.001), 9_999_999.999), abs=0.001)


@given(st.floats(0, allow_infinity=True))
def test_how_long_to_wait_arrives(seconds: float) -> None:
    """The same, in whole seconds and rounded up."""
    ((_, value),) = write_retry_after(seconds)
    assert read_retry_after(value.decode()) == min(ceil(min(seconds, 1e10)), 9_999_999_999)


@pytest.mark.parametrize("length", [None, 60_000])
async def test_a_body_that_is_not_needed_is_read_to_its_end(length):
    """Nothing after it is taken."""
    told = Told(*[b"a" * 20_000] * 3)
    await discard_body(told, length)
    assert len(told.messages) == (0 if length is None else 1)


async def test_a_small_body_that_is_not_needed_is_left():
    """It has arrived with the head."""
    told = Told(b"abc")
    await discard_body(told, 3)
    assert len(told.messages) == 2


async def test_a_client_that_leaves_while_its_body_is_dropped():
    """Nobody waits for the rest."""
    await discard_body(Told(b"a" * 20_000, ended=False), 60_000)
