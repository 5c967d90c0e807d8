"""What the headers of a request say of its body."""

from __future__ import annotations

import pytest

from meshcore.wire.headers import RequestHeaders


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
