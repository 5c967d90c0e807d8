"""The headers of calls on a connection: made once for the same headers and time, and otherwise those of the call."""

from __future__ import annotations

from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from meshcore.asgi.stream.headers import MOST_REMEMBERED, ConnectionHeaders
from meshcore.wire.headers import RequestHeaders
from meshcore.wire.stream.events import Requested
from meshcore.wire.trace_field import trace_headers

RAW = [(b"host", b"shop"), (b"authorization", b"of the connection")]

texts = st.text("abc-", min_size=1, max_size=3)
headers = st.dictionaries(st.sampled_from(["x-user", "authorization", "mesh-attempt", "baggage"]), texts | st.just("2"))
times = st.none() | st.integers(1, 5).map(lambda milliseconds: milliseconds / 1000)


PARENTS = (b"", b"p" * 55, b"q" * 55, b"p" * 55 + b"a=1")


def requested(headers: MappingProxyType[str, str], timeout: float | None, trace: bytes = b"") -> Requested:
    """A call."""
    return Requested(1, "m", headers, timeout, b"", items=False, trace=trace)


@given(st.lists(headers.map(MappingProxyType), min_size=1, max_size=4), st.data())
def test_each_call_has_its_own(blocks: list[MappingProxyType[str, str]], data: st.DataObject) -> None:
    """Whatever came before: its headers count before those of the connection, and its time is its own."""
    made = ConnectionHeaders(RAW)
    calls = st.lists(st.tuples(st.sampled_from(blocks), times, st.sampled_from(PARENTS)), max_size=20)
    for block, timeout, trace in data.draw(calls):
        found = made.of(requested(block, timeout, trace))
        own = [(name.encode(), value.encode()) for name, value in block.items()]
        fresh = RequestHeaders([*(trace_headers(trace) if trace else ()), *own, *RAW])
        fresh.seconds = timeout
        assert dict(found) == dict(fresh)
        for name in RequestHeaders.__slots__:
            if name != "_first":  # made when it is needed
                assert getattr(found, name) == getattr(fresh, name), name


def test_headers_that_are_made_anew_each_time() -> None:
    """They are other objects, perhaps at the place in memory of those before; and what is remembered is bounded."""
    made = ConnectionHeaders(RAW)
    for number in range(10 * MOST_REMEMBERED):
        assert made.of(requested(MappingProxyType({"x-user": str(number)}), 1.0))["x-user"] == str(number)
        assert len(made) <= MOST_REMEMBERED


def test_the_same_headers_are_made_once() -> None:
    """As long as the time of the calls is the same, too."""
    made, block = ConnectionHeaders(RAW), MappingProxyType({"x-user": "me"})
    first = made.of(requested(block, 1.0))
    assert made.of(requested(block, 1.0)) is first
    assert made.of(requested(block, 2.0)) is not first
