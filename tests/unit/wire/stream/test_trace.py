"""The trace of a call travels in a field of its own, and beside it the other headers stay the same bytes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.errors import LocalError
from meshcore.wire.frames import REQUEST_BODY, TRACE, TRACE_SIZE, Feature, Kind, Reason, Table, define, frame
from meshcore.wire.stream.events import Failed, Requested
from meshcore.wire.trace_field import LONGEST_TRACE, PARENT_SIZE, split_trace, trace_headers
from tests.support.stream_pair import SMALL, Pair, ready

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
parents = st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", fullmatch=True)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "traceparent": parents | st.text(max_size=60) | st.text("ä", min_size=55, max_size=55),
        "tracestate": st.sampled_from(["", "a=1", "ä=1", "b=" + "x" * 255, "c=" + "x" * 520]) | st.text(max_size=20),
        "baggage": st.sampled_from(["", "user=me"]),
        "tenant": st.sampled_from(["", "blue"]),
    },
)


def headers_of(event: Requested) -> dict[str, str]:
    """All of them, wherever they travelled."""
    field = trace_headers(event.trace) if event.trace else []
    return dict(event.headers) | {name.decode(): value.decode() for name, value in field}


def requested(pair: Pair, headers: Mapping[str, str], payload: bytes = b"1", *, items: bool = False) -> Requested:
    """The call as it comes."""
    pair.client.request("m", payload, headers, 5.0, items=items)
    [event] = pair.settle()[1]
    assert isinstance(event, Requested)
    assert (event.payload, event.items, event.timeout) == (payload, items, 5.0)
    pair.server.answer(event.call, b"")
    pair.settle()
    return event


@given(HEADERS)
def test_what_is_split_is_all_there(headers: dict[str, str]) -> None:
    """Whatever the headers are, and no longer than it may be."""
    field, rest = split_trace(headers)
    assert not field or PARENT_SIZE <= len(field) <= LONGEST_TRACE
    split = {name.decode(): value.decode() for name, value in trace_headers(field)} if field else {}
    assert not rest.keys() & split.keys()
    assert {**rest, **split} == headers


@given(st.lists(st.tuples(HEADERS, st.sampled_from([0, 1, 800, 3_000]), st.booleans()), max_size=8), st.booleans())
def test_headers_come_as_they_were(calls: list[tuple[dict[str, str], int, bool]], agreed: bool) -> None:  # noqa: FBT001
    """In whole and in chunks, with items and without, and also to a peer that does not have the field."""
    pair = ready(features=Feature.STREAMS | (Feature.TRACE if agreed else 0))
    for headers, size, items in calls:
        event = requested(pair, headers, b"x" * size, items=items)
        assert headers_of(event) == headers
        assert agreed or not event.trace


def test_the_other_headers_stay_the_same() -> None:
    """The server finds the same object for them, however the traces differ, and no table grows."""
    pair = ready()
    found = [requested(pair, {"traceparent": f"00-{n:032x}-{n:016x}-00", "tenant": "blue"}) for n in range(1, 50)]
    assert len({id(event.headers) for event in found[3:]}) == 1
    assert len({event.trace for event in found}) == len(found)
    alone = [requested(pair, {"traceparent": f"00-{n:032x}-{n:016x}-00"}) for n in range(1, 5)]
    assert len({id(event.headers) for event in alone}) == 1


def test_headers_and_trace_together_are_bounded() -> None:
    """By the limit that the peer has announced for headers; nothing was sent then."""
    pair = ready()
    for tenant in ("x" * 850, "x" * 300):
        for _ in range(3):  # they are known by a number, which is short, from the third time on
            requested(pair, {"tenant": tenant} if len(tenant) > 800 else {"tenant": tenant, "traceparent": PARENT})
    with pytest.raises(LocalError, match=r"the headers have 9.. bytes, the peer takes 900"):
        pair.client.request("m", b"", {"tenant": "y" * 850, "traceparent": PARENT})
    requested(pair, {"tenant": "y" * 850})


def test_a_peer_that_takes_no_headers_gets_no_trace() -> None:
    """The caller is told, and the connection goes on."""
    limits = SMALL.__class__(**{**{name: getattr(SMALL, name) for name in SMALL.__struct_fields__}, "header_bytes": 20})
    pair = ready(limits, limits)
    with pytest.raises(LocalError, match="the headers have 57 bytes, the peer takes 20"):
        pair.client.request("m", b"", {"traceparent": PARENT})
    requested(pair, {})


def traced(body: bytes) -> bytes:
    """A request with the flag."""
    return define(Table.METHODS, 0, b"m") + frame(Kind.REQUEST | TRACE, 1, body)


@pytest.mark.parametrize(
    ("body", "reason", "text"),
    [
        (REQUEST_BODY.pack(0, 0, 0), Reason.PROTOCOL, "0 bytes where a trace of 0"),
        (REQUEST_BODY.pack(0, 0, 0) + b"\0", Reason.PROTOCOL, "1 bytes where a trace of 0"),
        (REQUEST_BODY.pack(0, 0, 0) + TRACE_SIZE.pack(10) + b"x" * 10, Reason.PROTOCOL, "a trace of 10"),
        (REQUEST_BODY.pack(0, 0, 0) + TRACE_SIZE.pack(55) + b"x" * 54, Reason.PROTOCOL, "56 bytes where a trace of 55"),
        (REQUEST_BODY.pack(0, 0, 0) + TRACE_SIZE.pack(568) + b"x" * 568, Reason.PROTOCOL, "a trace of 568"),
        (REQUEST_BODY.pack(0, 0, 400) + TRACE_SIZE.pack(567) + b"x" * 967, Reason.LIMIT, "967 bytes with their trace"),
        (REQUEST_BODY.pack(0, 0, 4) + TRACE_SIZE.pack(55) + b"x" * 57, Reason.PROTOCOL, "where headers of 4"),
    ],
)
def test_a_fault_in_the_field(body: bytes, reason: Reason, text: str) -> None:
    """It ends the connection, and is named."""
    found = ready().server.feed(traced(body), 0.0)[-1]
    assert isinstance(found, Failed)
    assert (found.reason, text in found.text) == (reason, True), found.text


def test_a_field_that_was_not_agreed_on() -> None:
    """It is a fault."""
    found = ready(features=Feature.STREAMS).server.feed(traced(REQUEST_BODY.pack(0, 0, 0)), 0.0)[-1]
    assert isinstance(found, Failed)
    assert found.text == "REQUEST with TRACE, which was not agreed on"
