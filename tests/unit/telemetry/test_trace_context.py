"""Headers of traces are read as the W3C says: what is malformed or too large is dropped, the rest is passed on."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshcore.core.context.current_call import BAGGAGE, TRACEPARENT, TRACESTATE
from meshcore.telemetry.trace_context import (
    begin_trace,
    ids_of,
    read_baggage,
    read_trace,
    read_traceparent,
    read_tracestate,
)
from meshcore.wire.headers import RequestHeaders

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"

hexes = st.text("0123456789abcdef", min_size=16, max_size=16)


def headers(*pairs: tuple[str, str]) -> RequestHeaders:
    """Return the headers of a request."""
    return RequestHeaders([(name.encode(), value.encode("latin-1")) for name, value in pairs])


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (PARENT, PARENT),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03"),  # bits that nothing is known of are cleared
        (f"cc-{TRACE}-{SPAN}-01", PARENT),  # a later version is read as far as it is known
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", PARENT),
        (f"cc-{TRACE}-{SPAN}-01what", ""),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{TRACE}-{SPAN}-01-more", ""),
        (f"00-{TRACE}-{SPAN}-1", ""),
        (f"00-{TRACE.upper()}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE}-{SPAN}", ""),
        (f"0-{TRACE}-{SPAN}-01", ""),
        (f"00-{TRACE}-{SPAN}-01\n", ""),
        ("", ""),
    ],
)
def test_a_traceparent(value: str, read: str) -> None:
    """It is read whole, or it is none."""
    assert read_traceparent([value]) == read


def test_two_traceparents_are_none() -> None:
    """Nobody can tell which of them counts."""
    assert read_traceparent([PARENT, PARENT]) == ""
    assert read_traceparent([]) == ""


@given(st.text(max_size=80) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True))
@example(PARENT)
def test_any_text_is_a_traceparent_or_none(text: str) -> None:
    """What is read has the form of version 00, and is read again as the same."""
    read = read_traceparent([text])
    assert read == "" or re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", read)
    assert read_traceparent([read]) == read


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"], "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
        (["congo=1", "rojo=2"], "congo=1,rojo=2"),  # several headers are one list
        ([" congo=1 ,\trojo=2 ,, "], "congo=1,rojo=2"),
        (["tenant@vendor=1"], "tenant@vendor=1"),
        (["0fw529a3039@dt=FfMg"], "0fw529a3039@dt=FfMg"),
        (["a=1,b=2,a=3"], "a=1,b=2"),  # the first of a key counts
        (["Congo=1"], ""),
        (["congo"], ""),
        (["congo="], ""),
        (["a=1,b=x=y"], ""),
        (["a=1,b=\xe4"], ""),
        ([",".join(f"k{at}=v" for at in range(32))], ",".join(f"k{at}=v" for at in range(32))),
        ([",".join(f"k{at}=v" for at in range(33))], ""),
        ([], ""),
    ],
)
def test_a_tracestate(values: list[str], read: str) -> None:
    """One malformed member, or too many of them, and all are dropped."""
    assert read_tracestate(values) == read


def test_a_large_tracestate_loses_its_large_and_its_oldest_members() -> None:
    """At most 512 characters are passed on."""
    small = [f"k{at}={'v' * 100}" for at in range(6)]
    large = f"large={'v' * 200}"
    assert read_tracestate([",".join([large, *small[:3]])]) == ",".join(small[:3])
    assert read_tracestate([",".join(small)]) == ",".join(small[:4])


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["user=7,tier=gold"], "user=7,tier=gold"),
        (["a=1", "b=2"], "a=1,b=2"),
        (["a = 1 ; secure ; ttl = 5 , b="], "a = 1 ; secure ; ttl = 5,b="),
        (["a=%C3%A4"], "a=%C3%A4"),
        (["a=1,no member,b=2"], "a=1,b=2"),
        (["a=\xe4,b=2"], "b=2"),
        (['a="quoted"'], ""),
        ([",".join(f"k{at}=v" for at in range(70))], ",".join(f"k{at}=v" for at in range(64))),
        ([f"a={'v' * 9000},b=2"], "b=2"),
        ([f"a={'v' * 5000},b={'v' * 5000},c=3"], f"a={'v' * 5000},c=3"),
        ([], ""),
    ],
)
def test_a_baggage(values: list[str], read: str) -> None:
    """Malformed members are dropped, and those that are too many or too much."""
    assert read_baggage(values) == read


@given(st.lists(st.text(max_size=600), max_size=4))
def test_any_texts_are_lists_of_bounded_size(values: list[str]) -> None:
    """What is read is read again as the same, and can be sent as a line."""
    for read, most in ((read_tracestate, 512), (read_baggage, 8192)):
        found = read(values)
        assert len(found) <= most
        assert found.isascii()
        assert found == "" or found.isprintable() or "\t" in found
        assert read([found]) == found


members = st.from_regex(r"[a-z]{1,9}=[A-Za-z0-9]{1,90}", fullmatch=True)


@given(st.lists(members, max_size=40), st.lists(members, max_size=80))
def test_what_is_well_formed_is_passed_on_within_its_bounds(states: list[str], baggage: list[str]) -> None:
    """No member is changed, and the order stays."""
    joined = ",".join(states)
    if len({each.partition("=")[0] for each in states}) == len(states) <= 32:
        kept = read_tracestate([joined])
        assert kept == (joined if len(joined) <= 512 else joined[: len(kept)])
    joined = ",".join(baggage)
    if len(baggage) <= 64 and len(joined) <= 8192:
        assert read_baggage([joined]) == joined


@given(hexes, hexes, hexes)
def test_a_request_has_a_trace_if_one_of_its_headers_can_be_read(high: str, low: str, span: str) -> None:
    """A tracestate means nothing without its traceparent; a baggage does."""
    parent = f"00-{high}{low}-{span}-01"
    valid = bool((high + low).strip("0") and span.strip("0"))
    request = headers((TRACEPARENT, parent), (TRACESTATE, "a=1"), (BAGGAGE, "b=2"), ("host", "shop"))
    assert request.trace is not None
    assert not request.rare  # the gate need not look at it
    expected = {TRACEPARENT: parent, TRACESTATE: "a=1", BAGGAGE: "b=2"} if valid else {BAGGAGE: "b=2"}
    assert read_trace(request.trace) == expected
    assert read_trace(headers((TRACEPARENT, parent)).trace or []) == ({TRACEPARENT: parent} if valid else None)
    assert read_trace([(b"tracestate", b"a=1")]) is None
    assert headers(("host", "shop"), ("mesh-timeout-ms", "70")).trace is None
    several = headers((BAGGAGE, "b=1"), (TRACEPARENT, PARENT), (BAGGAGE, "b=2")).trace or []
    assert read_trace(several) == {TRACEPARENT: PARENT, BAGGAGE: "b=1,b=2"}  # in their order


def test_a_trace_that_is_begun_is_read_by_others() -> None:
    """Its ids are those of nobody else, and it is not sampled."""
    begun = begin_trace()
    assert read_trace([(name.encode(), value.encode()) for name, value in begun.items()]) == begun
    assert begun[TRACEPARENT] == f"00-{'-'.join(ids_of(begun))}-02"
    assert ids_of(begun) != ids_of(begin_trace())
    assert ids_of(None) == ids_of({BAGGAGE: "a=1"}) == ("", "")
