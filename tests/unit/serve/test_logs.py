from __future__ import annotations

import io
import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.masking import without_secrets
from meshcore.serve.logs import JsonFormatter, identify_lines


def line(**extra) -> dict[str, object]:
    """What the formatter makes of a record."""
    text = JsonFormatter().format(logging.makeLogRecord({"name": "shop", "levelname": "ERROR", **extra}))
    assert "\n" not in text
    return json.loads(text)


def test_a_record_is_one_object() -> None:
    """Time, level, logger and message are there, and what was given as extra."""
    found = line(msg="call %s failed", args=("ab",), created=0.25, call="ab")
    assert found == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "ERROR",
        "logger": "shop",
        "message": "call ab failed",
        "call": "ab",
    }


def test_lines_say_whose_they_are() -> None:
    """Once a server has started, each line has its components and its instance; what a record says itself counts."""
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(JsonFormatter())
    log = logging.getLogger()
    log.addHandler(handler)
    try:
        identify_lines(["orders", "stock"], "0a1b")
        logging.getLogger("shop").error("first")
        logging.getLogger("shop").error("second", extra={"instance": "another"})
    finally:
        log.removeHandler(handler)
    first, second = map(json.loads, handler.stream.getvalue().splitlines())
    assert (first["message"], first["service"], first["instance"]) == ("first", "orders, stock", "0a1b")
    assert (second["service"], second["instance"]) == ("orders, stock", "another")
    assert "instance" not in line(msg="of another formatter")


def test_a_traceback_is_text_in_the_object() -> None:
    """A traceback does not break the line."""
    try:
        int("wrong")
    except ValueError:
        found = line(msg="failed", exc_info=sys.exc_info())
    assert str(found["exception"]).endswith("'wrong'")


@given(st.text(), st.dictionaries(st.text(min_size=1), st.floats() | st.binary() | st.text() | st.none()))
def test_a_line_is_always_json(message: str, extra: dict[str, object]) -> None:
    """Whatever is logged, also what JSON has no form for, is one line of valid JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    record = logging.makeLogRecord({"name": "shop", "levelname": "INFO", "msg": message})
    for name, value in extra.items():
        record.__dict__.setdefault(name, value)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert json.loads(text, parse_constant=refuse)["message"] == message


def test_secrets_of_urls_are_not_shown() -> None:
    """Passwords and tokens of a registry's URL are masked, the rest is not."""
    assert without_secrets("consul://user:pw@host:8500?token=abc&datacenter=x") == (
        "consul://***@host:8500?token=***&datacenter=x"
    )
    assert without_secrets("other:h?Access_Token=a&token_file=f&db.password=b") == (
        "other:h?Access_Token=***&token_file=f&db.password=***"
    )
    assert without_secrets("directory:///tmp/a") == "directory:///tmp/a"


@pytest.mark.parametrize(
    "url",
    [
        "postgres://user:HIDE@HIDE@db/x",
        "postgres://user:HIDE/HIDE@db/x",
        "static:http://a:80,http://u:HIDE@b:80/",
        "http://h/?a=1&api_key=HIDE",
        "http://h/?ApiKey=HIDE&b=2",
        "http://h/?access-key=HIDE",
        "http://h/?pwd=HIDE",
        "http://h/?db_passwd=HIDE",
        "http://h/?sig=HIDE",
        "http://h/?a=1;token=HIDE;b=2",
        "http://h/#access_token=HIDE",
    ],
)
def test_secrets_in_unusual_places(url: str) -> None:
    """Passwords that were not quoted, and other names and separators of options."""
    assert "HIDE" not in without_secrets(url)


@pytest.mark.parametrize(
    "url",
    ["http://h:8500/a@b", "http://[::1]:80/a@b", "static:http://a:80,http://b:80/x@y", "consul://h?check=ttl&design=a"],
)
def test_texts_without_secrets(url: str) -> None:
    """They stay as they are."""
    assert without_secrets(url) == url
