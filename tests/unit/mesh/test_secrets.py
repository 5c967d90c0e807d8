"""What is secret in the settings is shown nowhere: in no text of an object, no error, no log and no report."""

from __future__ import annotations

import json
import logging
import string
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore import ConfigurationError, Mesh, Secret, Settings, load_settings
from meshcore.declare.injection import InjectValue
from meshcore.examples.greeting import GreetingModule
from meshcore.inject.dependencies import Dependency
from meshcore.inject.values import UnresolvedError, read_value
from meshcore.ports.installed import make_registry, make_value_source
from meshcore.serve.report import live_report, startup_report, startup_text

# Longer than anything that a text may contain by chance, and without what a URL quotes.
SECRETS = st.text(string.ascii_letters + string.digits, min_size=12, max_size=30).map("s3cr3t{}".format)
URLS: dict[str, Callable[[str, str], str]] = {
    "user": lambda scheme, secret: f"{scheme}://mesh:{secret}@127.0.0.1:1/folder",
    "token": lambda scheme, secret: f"{scheme}://127.0.0.1:1/folder?token={secret}",
    "password": lambda scheme, secret: f"{scheme}://127.0.0.1:1/folder?dc=x&password={secret}",
}
FIELDS = ("registry", "value_source", "identity", "advertise_url", "module", "allowed_origins", "page", "timeout")
SCHEMES = ("consul", "http", "https", "directory", "static", "nothing")


class Log(logging.Handler):
    """Keeps what is logged, as text with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def logged() -> Iterator[list[str]]:
    """All that is logged meanwhile, also at the level of debugging."""
    log, root = Log(), logging.getLogger("meshcore")
    level = root.level
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    try:
        yield log.lines
    finally:
        root.removeHandler(log)
        root.setLevel(level)


def texts_of(settings: Settings) -> Iterator[str]:
    """The texts of settings, and of what is made of them."""
    yield repr(settings)
    yield repr(settings.__rich_repr__())
    for make, url in ((make_registry, settings.registry), (make_value_source, settings.value_source)):
        try:
            yield repr(make(url))
        except ValueError as error:
            yield "".join(traceback.format_exception(error))


@given(secret=SECRETS, field=st.sampled_from(FIELDS), scheme=st.sampled_from(SCHEMES), place=st.sampled_from([*URLS]))
def test_a_secret_in_any_setting(secret: str, field: str, scheme: str, place: str) -> None:
    """Whether the value fits the field or not: neither the settings nor the error show it."""
    url = URLS[place](scheme, secret)
    with logged() as lines:
        for given_as in ({"given": {field: url}}, {"environ": {f"MESHCORE_{field.upper()}": url}}):
            arguments: dict[str, Any] = {"environ": {}, **given_as}
            given_settings = arguments.pop("given", None)
            try:
                settings = load_settings(given_settings, **arguments, directory=Path("/nonexistent"))
            except ConfigurationError as error:
                texts = ["".join(traceback.format_exception(error)), *error.problems]
            else:
                texts = list(texts_of(settings))
            assert [text for text in (*texts, *lines) if secret in text] == []


class Strict:
    """Takes no text, and says which."""

    def __init__(self, text: str) -> None:
        raise ValueError(f"cannot take {text}")


KINDS = {"int": int, "literal": Literal["a", "b"], "class": Strict, "list": list[int], "float": float}


@given(secret=SECRETS, kind=st.sampled_from([*KINDS]), many=st.booleans())
def test_an_injected_secret_that_does_not_fit(secret: str, kind: str, many: bool) -> None:  # noqa: FBT001
    """The error says which setting it is, and hides the value."""
    need = Dependency(where="(password)", hint=Annotated[KINDS[kind], Secret], key=KINDS[kind])
    with pytest.raises(UnresolvedError) as error:
        read_value(need, InjectValue("db.password"), json.dumps([secret]) if many else secret)
    said = "".join(traceback.format_exception(error.value))
    assert "db.password" in said
    assert secret not in said


@pytest.fixture
async def shown(request: pytest.FixtureRequest) -> AsyncIterator[list[str]]:
    """All that a mesh says that starts, is asked for its reports, and stops."""
    settings = load_settings(request.param, environ={}, directory=Path("/nonexistent"))
    with logged() as lines:
        texts: list[str] = []
        try:
            async with Mesh(GreetingModule, settings=settings) as mesh:
                report = startup_report(mesh.runtime, settings)
                texts += [startup_text(report, 1, "text"), startup_text(report, 1, "json"), json.dumps(report)]
                live = await live_report(mesh.runtime, settings.advertise_url, ready=True, active=0)
                texts.append(json.dumps(live))
        except ConfigurationError as error:
            texts.append("".join(traceback.format_exception(error)))
        yield [*texts, *lines]


@pytest.mark.parametrize(
    "shown",
    [
        {"registry": "static:shop=dispatch-json(http://mesh:s3cr3t-password@127.0.0.1:1)"},
        {"registry": "local:", "advertise_url": "http://mesh:s3cr3t-password@127.0.0.1:1"},
        {"registry": "local:", "value_source": "consul://127.0.0.1:1/prefix?token=s3cr3t-token"},
        {"registry": "consul://127.0.0.1:1?token=s3cr3t-token"},
    ],
    indirect=True,
    ids=["static", "advertised", "values", "consul"],
)
async def test_a_mesh_that_starts_and_stops(shown: list[str]) -> None:
    """Neither its reports, nor its errors, nor its log."""
    assert shown
    assert [text for text in shown if "s3cr3t" in text] == []
