"""Paths and parameters in URLs: what a client writes, a server reads back."""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.codec.errors import DecodeError, EncodeError
from meshcore.core.description import REQUIRED, Method, Parameter, Source
from meshcore.core.errors import ConfigurationError, LocalError
from meshcore.wire.rest_parameters import TextParameter
from meshcore.wire.rest_paths import PathTemplate, quote_text, request_path, unquote_value

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


class Colour(enum.Enum):
    RED = "red"
    NONE = ""


def scope(target: str, **more: Any) -> dict[str, Any]:
    """An ASGI scope as hypercorn makes it."""
    raw = target.encode()
    return {"type": "http", "path": unquote_value(target), "raw_path": raw, "root_path": "", **more}


def parameter(type_: Any, default: Any = REQUIRED) -> TextParameter:
    """A query parameter."""
    entry = Parameter("n", type_, default=default, source=Source.QUERY)
    return TextParameter(Method("s", "m", (entry,), None, is_async=True), entry)


@given(st.lists(TEXT, min_size=3, max_size=3))
@pytest.mark.parametrize("path", ["/{a}/{b}/x/{c}", "/p:{a}/{b}:{c}", "/grüße %/{a}@{b}/{c}.txt", "/{a}/{b}/{c}/"])
def test_path_values_survive(path: str, values: list[str]) -> None:
    """Whatever the values, the server reads from a path what the client wrote into it."""
    template = PathTemplate(path)
    found = template.match(request_path(scope(template.fill(values))))
    assert found is not None
    if not path.endswith(".txt") or not values[2].endswith(".txt"):
        assert [unquote_value(found[name]) for name in template.names] == values


@given(st.lists(TEXT, min_size=1, max_size=1), st.sampled_from(["/mesh", "/a b/ü", "/a/b"]))
def test_the_prefix_of_a_mounted_application_is_taken_off(values: list[str], root: str) -> None:
    """Below a root path, however it is quoted, the rest of the path is matched; a value may look like the root."""
    template = PathTemplate("/x/{a}")
    rest = template.fill(values)
    quoted = "".join(f"%{byte:02x}" if byte != ord("/") else "/" for byte in root.encode())
    found = template.match(request_path(scope(quoted + rest, root_path=root)))
    assert found is not None
    assert unquote_value(found["a"]) == values[0]


def test_a_server_without_raw_path_still_matches() -> None:
    """Where a server gives only the unquoted path, that is matched."""
    found = PathTemplate("/x/{a}").match(request_path({"path": "/x/a b", "root_path": ""}))
    assert found == {"a": "a%20b"}


def test_a_proxy_may_have_taken_the_prefix_off() -> None:
    """A root path that the path does not begin with is not looked for."""
    assert request_path(scope("/x/a", root_path="/mesh")) == "/x/a"
    assert request_path(scope("/mesh", root_path="/mesh")) == ""


def test_matching_takes_linear_time() -> None:
    """A long path that nearly matches is refused at once."""
    for path in ("/{a}-{b}/x", "/{a}-{b}-{c}-{d}/x", "/{a}-{b}-{c}-{d}.x"):
        assert PathTemplate(path).match("/" + "-" * 60_000 + "/y") is None
        assert PathTemplate(path).match("/" + "-" * 60_000) is None


@pytest.mark.parametrize(
    ("type_", "default", "values"),
    [
        (int, REQUIRED, [0, -1, 2**63]),
        (str, REQUIRED, ["", "null", "a&b=c+d%"]),
        (bytes, REQUIRED, [b"", b"\x00\xff"]),
        (Decimal, REQUIRED, [Decimal("1.10")]),
        (dt.datetime | None, REQUIRED, [None, dt.datetime(2024, 2, 29, tzinfo=dt.UTC)]),
        (int | None, REQUIRED, [None, 0]),
        (int | None, 5, [None, 5, 6]),
        (str | None, None, [None, "", "x"]),
        (bool | None, True, [None, True, False]),
        (Colour, REQUIRED, list(Colour)),
        (list[int], REQUIRED, [[], [1], [1, 2]]),
        (list[str], REQUIRED, [[], [""], ["", ""], ["a", "b"]]),
        (list[int], (), [[1]]),
        (set[str] | None, REQUIRED, [None, {"a"}, {""}]),
        (list[int] | None, REQUIRED, [None, [1]]),
        (tuple[int, str], REQUIRED, [(1, "a")]),
        (frozenset[int], frozenset({1}), [frozenset({2})]),
        (Any, REQUIRED, ["1", "null", None]),
    ],
)
def test_parameters_survive(type_: Any, default: Any, values: list[Any]) -> None:
    """What a client writes into a query, the server reads back, None and empty lists included."""
    entry = parameter(type_, default)
    for value in values:
        query = "&".join(f"n={quote_text(text)}" for text in entry.write(value))
        assert entry.read(parse_qs(query, keep_blank_values=True).get("n")) == value


@pytest.mark.parametrize(
    ("type_", "default", "value"),
    [
        (str | None, "x", None),
        (bytes | None, b"x", None),
        (list[int], [1], []),
        (list[int] | None, REQUIRED, []),
        (Colour | None, Colour.RED, None),
        (float, REQUIRED, float("inf")),
        (int, REQUIRED, None),
        (int, REQUIRED, object()),
        (int, REQUIRED, 10**1000),
        (int | list[str], REQUIRED, ["5"]),
        (str | list[str] | None, None, ["a"]),
        (Any, REQUIRED, 1),
        (Any, REQUIRED, ["a"]),
        (list[Any], REQUIRED, ["a", True]),
    ],
)
def test_what_the_other_side_would_read_otherwise_is_refused(type_: Any, default: Any, value: Any) -> None:
    """A value that leaving out cannot say, because it means another, is an error instead of another value."""
    with pytest.raises(EncodeError):
        parameter(type_, default).write(value)


CASES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int | None, st.none() | st.integers(-(2**63), 2**63)),
    (str | None, st.none() | TEXT | st.just("")),
    (list[int] | None, st.none() | st.lists(st.integers(0, 9), max_size=3)),
    (list[str], st.lists(TEXT | st.just(""), max_size=3)),
    (float, st.floats()),
    (bool | None, st.none() | st.booleans()),
    (int | float | bool, st.integers() | st.floats() | st.booleans()),
    (int | list[int], st.integers() | st.lists(st.integers(), max_size=3)),
    (Decimal | bool, st.decimals(allow_nan=False) | st.booleans()),
    (int | dt.datetime, st.integers() | st.datetimes()),
    (float | dt.timedelta, st.floats() | st.timedeltas()),
    (set[bytes], st.sets(st.binary(max_size=3), max_size=3)),
]


@given(st.data())
@pytest.mark.parametrize(("type_", "values"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_written_is_read_or_refused(type_: Any, values: st.SearchStrategy[Any], data: st.DataObject) -> None:
    """Whatever value and default a parameter has, a server never reads another value than the client wrote."""
    entry = parameter(type_, data.draw(values | st.just(REQUIRED)))
    value = data.draw(values)
    with contextlib.suppress(EncodeError):
        texts = entry.write(value)
        query = "&".join(f"n={quote_text(text)}" for text in texts)
        found = entry.read(parse_qs(query, keep_blank_values=True).get("n"))
        assert found == value
        assert isinstance(found, bool) is isinstance(value, bool)


def test_a_missing_value_is_named() -> None:
    """A required parameter that is missing is an error, an optional one null."""
    with pytest.raises(DecodeError, match="is missing"):
        parameter(int).read(None)
    assert parameter(int | None).read(None) is None
    assert parameter(int, 3).read(None) == 3


def test_an_empty_list_that_is_left_out_belongs_to_one_request() -> None:
    """An implementation may change the list that it is given."""
    tags = parameter(list[str])
    for read in (lambda: tags.read(None), lambda: tags.read_header([])):
        read().append("mine")
        assert read() == []


def test_an_object_is_no_parameter_of_a_url() -> None:
    """A type without a form as text is an error when a method is prepared, and names the parameter."""
    with pytest.raises(ConfigurationError, match=r"s\.m\(n\): dict has no form as text"):
        parameter(dict[str, int])


def test_surrogates_are_refused() -> None:
    """Text that no encoding has cannot be sent in a URL."""
    with pytest.raises(LocalError, match="surrogates"):
        quote_text("\ud800")


@pytest.mark.parametrize(
    ("type_", "sent", "reason"),
    [
        (int, ["hunter2"], "expected int"),
        (int | None, ["null", "null"], "expected one value, got 2"),
        (Literal["a", "b"], ["hunter2"], "invalid enum value"),
        (Colour, ["hunter2"], "invalid enum value"),
        (dt.date, ["hunter2"], "invalid RFC3339 encoded date"),
        (list[int], ["1, hunter2"], "expected int"),
        (float, ["nan"], "expected a finite number"),
        (Annotated[str, msgspec.Meta(pattern="^x$")], ["hunter2"], "expected str matching regex"),
    ],
)
def test_the_value_of_a_header_is_not_shown(type_: Any, sent: list[str], reason: str) -> None:
    """It may be a token. What is wrong with it is said all the same."""
    entry = Parameter("n", type_, source=Source.HEADER)
    header = TextParameter(Method("s", "m", (entry,), None, is_async=True), entry)
    with pytest.raises(DecodeError) as refused:
        header.read_header(sent)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("type_", "value"),
    [(str, "hunter2\n"), (list[str], ["hunter2,"]), (str | list[str], ["hunter2"]), (str, "hunter2é")],
)
def test_the_value_of_a_header_that_cannot_be_sent_is_not_shown(type_: Any, value: Any) -> None:
    """Nor is that of an argument."""
    entry = Parameter("n", type_, source=Source.HEADER)
    with pytest.raises(EncodeError) as refused:
        TextParameter(Method("s", "m", (entry,), None, is_async=True), entry).write_header(value)
    assert "hunter2" not in str(refused.value)
