"""What the headers of a request say of its body, and of its caller."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.wire.headers import ATTEMPT, CALLER, TIMEOUT, RequestHeaders, check_headers, write_caller


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        ([], ""),
        (["identity"], ""),
        (["IDENTITY"], ""),
        ([""], ""),
        (["identity, identity"], ""),
        (["GZIP"], "GZIP"),
        (["gzip, identity"], "gzip"),
        (["identity", "gzip"], "gzip"),
        (["deflate", "br"], "deflate, br"),
    ],
)
def test_the_codings_of_a_body(values: list[str], coding: str) -> None:
    """Those in all headers count, and `identity` is none."""
    raw = [(b"content-encoding", value.encode()) for value in values]
    assert RequestHeaders([(b"host", b"shop"), *raw]).content_coding == coding


NAMES = [TIMEOUT, ATTEMPT, "content-type", "content-length", "transfer-encoding", "content-encoding", "origin"]
VALUES = ["", "0", "7", "007", "12 ", "+1", "9" * 10, "9" * 11, "chunked", "gzip", "application/json"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES))))
def test_the_first_of_a_name_counts(pairs: list[tuple[str, str]]) -> None:
    """Whatever else was sent, and in any order: the attributes say the same as the mapping."""
    headers = RequestHeaders([(name.encode(), value.encode()) for name, value in pairs])
    first = dict(reversed(pairs))
    seconds, length = number(first.get(TIMEOUT, "")), number(first.get("content-length", ""))
    chunked = "transfer-encoding" in first
    assert headers.seconds == (None if seconds is None else seconds / 1000)
    assert headers.content_length == (None if chunked else length)
    assert headers.ambiguous == (chunked and "content-length" in first)
    assert headers.of_browser == ("origin" in first)
    assert headers.content_type == first.get("content-type", "")
    assert headers.attempt == (number(first.get(ATTEMPT, "")) or 1)
    assert dict(headers) == first


def number(text: str) -> int | None:
    """A number of at most ten digits, and nothing else."""
    return int(text) if text.isdigit() and len(text) <= 10 else None


@given(st.text())
def test_a_caller_may_call_itself_anything(name: str) -> None:
    """What travels is one line of printable ASCII of at most 100 characters, and arrives as it was sent."""
    sent = write_caller(name)
    check_headers(sent)
    text = sent.get(CALLER, "")
    assert len(text) <= 100
    assert not text or (text.isascii() and text.isprintable() and text == text.strip())
    assert RequestHeaders([(key.encode(), value.encode()) for key, value in sent.items()]).caller == text


def test_a_long_name_of_a_caller_is_cut() -> None:
    """Whoever sends it may be no client of ours."""
    assert RequestHeaders([(CALLER.encode(), b"x" * 5000)]).caller == "x" * 100
    assert RequestHeaders([(CALLER.encode(), b"a\r\nb\x1b\xe9")]).caller == "a??b??"
    assert RequestHeaders([]).caller == ""
