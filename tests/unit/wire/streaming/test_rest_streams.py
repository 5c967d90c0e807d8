"""The bodies of streams over REST: which form a client gets, and that items, problems and ends are told apart."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.wire.streaming.rest_streams import Events, Form, Kind, Lines, Part, choose_form, part_reader

FORMS = pytest.mark.parametrize("form", [Lines, Events])
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["$problem", "a", "b\n"]), inner),
    max_leaves=6,
)


def parts(form: type[Form], body: bytes, *cuts: int, marked: bool = True) -> list[Part]:
    """The parts of a body that comes in pieces."""
    places = sorted({cut % (len(body) + 1) for cut in cuts})
    reader = part_reader(f"{form.content_type}; charset=utf-8", 10**6, marked=marked)
    pieces = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]
    return [*(part for piece in pieces for part in reader.feed(piece)), *reader.finish()]


@FORMS
@given(st.lists(VALUES, max_size=6), st.booleans(), st.lists(st.integers(0, 10**6), max_size=10))
def test_items_are_told_from_the_end(form: type[Form], items: list[object], fails: bool, cuts: list[int]) -> None:  # noqa: FBT001
    """Whatever they are, also if they look like a problem."""
    last = form.problem(b'{"status":400}', 2.0) if fails else form.end
    written = [json.dumps(item, separators=(",", ":")).encode() for item in items]
    body = form.begin() + b"".join(form.item(data, "%20") for data in written) + last
    *found, end = parts(form, body, *cuts)
    assert [json.loads(part.data) for part in found] == items
    assert all(part.kind is Kind.ITEM for part in found)
    assert end.kind is (Kind.PROBLEM if fails else Kind.END)
    assert not fails or json.loads(end.data) == {"status": 400}


@FORMS
def test_a_body_that_is_cut_off_has_no_end(form: type[Form]) -> None:
    """Wherever that is: the end counts only as a whole."""
    for last in (form.end, form.problem(b'{"status":400}', None)):
        body = form.item(b'{"a":1}', "") + last
        for cut in range(len(body)):
            assert [part.kind for part in parts(form, body[:cut])] in ([], [Kind.ITEM])
        assert len(parts(form, body)) == 2


def test_lines_of_others_need_no_mark() -> None:
    """Empty ones mean nothing, and the last one need not be ended."""
    assert parts(Lines, b'1\n\n \n"b"', marked=False) == [Part(Kind.ITEM, b"1"), Part(Kind.ITEM, b'"b"')]


@pytest.mark.parametrize(
    ("accepted", "form"),
    [
        ([], Lines),
        ([""], Lines),
        (["*/*"], Lines),
        (["application/*"], Lines),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Lines),
        (["text/event-stream"], Events),
        (["TEXT/Event-Stream"], Events),
        (["text/event-stream, */*"], Events),
        (["application/x-ndjson", "text/event-stream"], Lines),
        (["application/x-ndjson;q=0.5, text/event-stream;q=0.6"], Events),
        (["application/x-ndjson; q=0, */*"], Events),
        (["application/json, text/*;q=0.1"], Events),
        (["application/x-ndjson;q=x"], Lines),
        (["application/json"], None),
        (["text/html;q=1"], None),
        (["application/x-ndjson;q=0, text/event-stream;q=0"], None),
    ],
)
def test_a_client_gets_the_form_that_it_asks_for(accepted: list[str], form: type[Form] | None) -> None:
    """The most specific range counts, then its quality."""
    assert choose_form(accepted) is form
