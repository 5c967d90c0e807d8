"""Names and headers travel once, whatever they are, and the tables stay within their limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.errors import Code, LocalError
from meshcore.wire.stream.events import Requested
from tests.support.stream_pair import SMALL, ready

HEADERS = st.dictionaries(
    st.sampled_from([letter * 60 for letter in "abcdefghijklmnopqrstuvwxyz"]) | st.text(max_size=8),
    st.sampled_from(["", "blue", "v" * 90, "w" * 200]) | st.text(max_size=20),
    max_size=3,
)


@given(st.lists(st.tuples(st.sampled_from([f"{n}" * 90 for n in range(10, 25)]), HEADERS), min_size=1, max_size=40))
def test_names_come_as_they_were(requests: list[tuple[str, dict[str, str]]]) -> None:
    """Also when tables are full and emptied, and when the same headers come again and again."""
    pair = ready()
    for method, headers in requests * 2:
        pair.client.request(method, b"", headers)
        _, [event] = pair.settle()
        assert isinstance(event, Requested)
        assert (event.method, dict(event.headers)) == (method, headers)
        pair.server.answer(event.call, b"")
        pair.settle()


def test_what_comes_again_is_a_number() -> None:
    """The third request with the same headers is as short as one with others."""
    pair = ready()
    sizes = []
    for _ in range(4):
        number = pair.client.request("component:service:method", b"", {"authorization": "Bearer " + "x" * 300})
        pair.write()
        sizes.append(len(pair.up))
        pair.settle()
        pair.server.answer(number, b"")
    assert sizes[0] > 300
    assert sizes[1] > 300
    assert sizes[2:] == [19, 19]


@pytest.mark.parametrize(
    ("method", "headers", "text", "code"),
    [
        ("m" * 1_025, {}, "the name of a method has 1025 bytes, the peer takes 1024", Code.RESOURCE_EXHAUSTED),
        ("\ud800", {}, "the name of the method is no Unicode", Code.INVALID_ARGUMENT),
        ("m", {f"h{n}": "" for n in range(17)}, "17 headers, the peer takes 16", Code.RESOURCE_EXHAUSTED),
        ("m", {"h": "x" * 901}, "the header 'h' has 901 bytes, the peer takes 900", Code.RESOURCE_EXHAUSTED),
        ("m", {"a": "x" * 500, "b": "x" * 500}, "headers have 1008 bytes, the peer takes 900", Code.RESOURCE_EXHAUSTED),
        ("m", {"a" * 600: "", "b" * 600: ""}, "names of the headers have 1200 bytes", Code.RESOURCE_EXHAUSTED),
        ("m", {"secret": "\ud800"}, "the header 'secret' is no Unicode", Code.INVALID_ARGUMENT),
    ],
)
def test_what_cannot_travel_is_an_error(method: str, headers: dict[str, str], text: str, code: Code) -> None:
    """It names what is wrong, and no call has begun."""
    pair = ready()
    with pytest.raises(LocalError) as raised:
        pair.client.request(method, b"", headers)
    assert text in raised.value.message
    assert raised.value.code is code
    assert pair.client.calls == 0
    pair.client.request("m", b"", {"fine": "1"})
    _, [event] = pair.settle()
    assert isinstance(event, Requested)
    assert SMALL.calls - pair.client.room == 1
