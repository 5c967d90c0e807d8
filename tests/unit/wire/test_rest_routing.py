"""Paths with values in them: what a client sends leads to the method that it means, with the same values."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.description import ComponentDescription, HttpMapping, Method, ServiceDescription
from meshcore.core.errors import Code, LocalError
from meshcore.wire.rest_paths import PathTemplate, request_path, unquote_value
from meshcore.wire.rest_routing import PathWriter, Routes, routes_of

LITERALS = ["me", "all", "a.b", "x-y", "all.txt", ".", "%", "ü"]
PARTS = [*LITERALS[:5], "{}", "{}", "{}.{}", "v{}", "{}.txt", "{}-{}.txt", "{}-{}-{}", "{}2{}", "{}@{}"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
VALUES = st.sampled_from([*LITERALS, "..", "2", "-", "a/b", "v1", "-.txt", "%2e", "e\u0301", "\u00e9"]) | TEXT


def template(parts: list[str]) -> str:
    """A path of these parts, with a name in each pair of braces."""
    names = iter(range(99))
    return re.sub(r"\{\}", lambda _: f"{{p{next(names)}}}", "/" + "/".join(parts))


TEMPLATES = st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map(template), min_size=1, max_size=5)


def component(*paths: str) -> ComponentDescription:
    """A component whose methods m0, m1, ... are GET at these paths."""
    methods = tuple(
        Method("s", f"m{at}", (), str, is_async=True, http=HttpMapping("GET", path)) for at, path in enumerate(paths)
    )
    return ComponentDescription(object, "c", "", (ServiceDescription(object, "s", "", methods),))


def writers(*paths: str) -> tuple[list[PathWriter], Routes[Method]]:
    """What writes the paths of each method, and what a server reads them with."""
    described = component(*paths)
    routes = routes_of(described)
    return [PathWriter(method, _http(method), routes) for method in described.services[0].methods], routes


def _http(method: Method) -> HttpMapping:
    assert method.http is not None
    return method.http


def scope(target: str) -> dict[str, Any]:
    """An ASGI scope as hypercorn makes it."""
    return {"type": "http", "path": unquote_value(target), "raw_path": target.encode(), "root_path": ""}


@given(TEMPLATES, st.data())
def test_what_is_sent_is_read_as_what_was_meant(paths: list[str], data: st.DataObject) -> None:
    """Whatever the templates and the values: a server finds this method and these values, or nothing is sent."""
    found_by_shape: dict[tuple[str, ...], str] = {}
    for path in paths:
        found_by_shape.setdefault(PathTemplate(path).shape, path)
    written, routes = writers(*found_by_shape.values())
    at = data.draw(st.integers(0, len(written) - 1))
    values = [data.draw(VALUES) for _ in written[at].names]
    try:
        path = written[at].write(values)
    except LocalError:
        return
    found = routes.find("GET", request_path(scope(path)))
    assert found is not None
    method, quoted = found
    assert method.name == f"m{at}"
    assert [unquote_value(quoted[name]) for name in written[at].names] == values


@pytest.mark.parametrize(
    ("paths", "values", "reason"),
    [
        (["/users/{n}", "/users/me"], ["me"], "/users/me over REST: GET /users/me is the path of s.m1"),
        (["/{a}/{b}", "/{a}/all", "/x/{b}"], ["x", "b"], "GET /x/b is the path of s.m2"),
        (["/{a}", "/v{a}"], ["v1"], "GET /v1 is the path of s.m1"),
        (["/{a}-{b}"], ["x", "y-z"], "with these values path '/{a}-{b}' is read as other values"),
        (["/{a}2{b}"], ["x", "/"], "is read as other values"),
        (["/{n}"], ["invoke"], "that is the path of the dispatch channels"),
    ],
)
def test_values_that_make_another_path_are_refused(paths: list[str], values: list[str], reason: str) -> None:
    """The error names the path, what it would lead to, and that another channel has no such limit."""
    with pytest.raises(LocalError) as refused:
        writers(*paths)[0][0].write(values)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert reason in refused.value.message
    assert refused.value.message.endswith("; use another channel")


@pytest.mark.parametrize(
    ("paths", "values", "path"),
    [
        (["/users/{n}", "/users/me"], ["Me"], "/users/Me"),
        (["/users/{n}", "/users/me"], ["me/"], "/users/me%2F"),
        (["/users/{n}", "/users/{other}"], ["me"], "/users/me"),
        (["/{a}-{b}"], ["x-y", "z"], "/x-y-z"),
        (["/{a}@{b}"], ["x@y", "@"], "/x%40y@%40"),
        (["/{a}.txt"], ["b.txt"], "/b.txt.txt"),
        (["/f/{n}"], [".."], "/f/%2E%2E"),
        (["/f/{n}"], ["e\u0301"], "/f/e%CC%81"),
    ],
)
def test_other_values_are_sent(paths: list[str], values: list[str], path: str) -> None:
    """Only what means something else is refused; no value is changed."""
    assert writers(*paths)[0][0].write(values) == path


@given(
    st.lists(st.sampled_from(["", "-", ".", "-."]), min_size=3, max_size=4),
    st.text("ab-.", max_size=9),
)
def test_several_values_in_a_part_are_divided_as_an_expression_would(fixed: list[str], part: str) -> None:
    """The last of the texts between them that fits divides them: the same that greedy groups find, in linear time."""
    first, *others = fixed
    path = first + "".join(f"{{p{at}}}{text or '.'}" for at, text in enumerate(others))
    expression = re.escape(first) + "".join(f"([^/]+){re.escape(text or '.')}" for text in others)
    expected = re.fullmatch(expression, part)
    found = PathTemplate(f"/{path}").match(f"/{part}")
    assert (found and list(found.values())) == (expected and list(expected.groups()))
