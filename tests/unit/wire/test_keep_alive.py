"""How long a server keeps idle connections, as a header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.wire.keep_alive import USUAL_KEEP_ALIVE, read_keep_alive, write_keep_alive


@given(st.one_of(st.integers(0, 10**6).map(float), st.floats(0.01, 1000).map(lambda seconds: round(seconds, 2))))
def test_what_is_written_is_read(seconds):
    """Whole seconds and parts of them."""
    assert read_keep_alive(write_keep_alive(seconds)) == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("timeout=2", 2.0),
        ("timeout=2, max=100", 2.0),
        ("max=100,Timeout = 15", 15.0),
        ('timeout="30"', 30.0),
        ("timeout=2.5", 2.5),
        ("", USUAL_KEEP_ALIVE),
        ("timeout", USUAL_KEEP_ALIVE),
        ("timeout=-1", USUAL_KEEP_ALIVE),
        ("timeout=soon", USUAL_KEEP_ALIVE),
        ("mytimeout=1", USUAL_KEEP_ALIVE),
    ],
)
def test_forms_of_other_servers(value, seconds):
    """In any order and case. What is no number says nothing."""
    assert read_keep_alive(value) == seconds


@given(st.text())
def test_any_text_is_some_time(value):
    """Nothing that a server sends is an error."""
    assert read_keep_alive(value) >= 0
