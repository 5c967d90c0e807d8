"""Where a client's token comes from: a text, a function, a file that is replaced."""

from __future__ import annotations

import asyncio
import os

import pytest

from meshcore import LocalError, TokenFile
from meshcore.security.tokens.sources import FetchedToken, StaticToken
from tests.support.verifying import Clock

pytestmark = pytest.mark.one_python


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("\n", "it is empty"),
        ("se\ncret", "its character number 3 is a line end, which no bearer token has"),
        ("sec ret", "its character number 4 is a space, which no bearer token has"),
        ("secreté", "its character number 7 is U+00E9, which no bearer token has"),
        ("se=cret", "it has a = that is not at its end"),
        ("s" * 65537, "it is longer than 65536 characters"),
    ],
)
def test_a_text_that_is_no_token(text, reason):
    """The error says what is wrong with it, and does not show it."""
    with pytest.raises(ValueError, match="the token cannot be sent") as wrong:
        StaticToken(text)
    assert str(wrong.value) == f"the token cannot be sent: {reason}"


async def test_a_line_end_around_a_token_is_removed(tmp_path):
    """Editors and `echo` write one."""
    assert StaticToken("secret\n").current() == "secret"
    (tmp_path / "token").write_text("secret\r\n")
    assert TokenFile(tmp_path / "token").current() == "secret"


async def test_a_file_is_read_again_when_it_has_changed(tmp_path):
    """As Kubernetes replaces it: a link to another file. It is looked for once per second."""
    (tmp_path / "one").write_text("first")
    (tmp_path / "two").write_text("other")
    path, clock = tmp_path / "token", Clock()
    path.symlink_to(tmp_path / "one")
    source = TokenFile(path, clock=clock)
    assert source.current() == "first"
    (tmp_path / "next").symlink_to(tmp_path / "two")
    (tmp_path / "next").replace(path)
    clock.now += 0.9
    assert source.current() == "first"
    clock.now += 0.2
    assert source.current() == "other"


async def test_a_file_that_seems_unchanged_is_read_again_after_its_age(tmp_path):
    """Some file systems have times of a second, or none that can be trusted."""
    path, clock = tmp_path / "token", Clock()
    path.write_text("first")
    source = TokenFile(path, max_age=60.0, clock=clock)
    assert source.current() == "first"
    before = path.stat()
    with path.open("r+") as file:
        file.write("other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.now += 59.0
    assert source.current() == "first"
    clock.now += 2.0
    assert source.current() == "other"


async def test_a_file_that_cannot_be_read(tmp_path, caplog):
    """At first it is an error of the call; later the last token stays. Each reason is logged once."""
    path, clock = tmp_path / "token", Clock()
    source = TokenFile(path, clock=clock)
    with pytest.raises(LocalError) as missing:
        await source.get()
    assert str(missing.value) == (f"failed_precondition: the token in {path} cannot be used: No such file or directory")
    path.write_text("first")
    assert await source.get() == "first"
    path.write_text("SE CRET")
    for _ in range(5):
        clock.now += 61.0
        assert source.current() == "first"
    missed, wrong = [record.getMessage() for record in caplog.records]
    assert missed == f"the token in {path} cannot be used: No such file or directory"
    reason = "its character number 3 is a space, which no bearer token has; the last token that was read stays"
    assert wrong == f"the token in {path} cannot be used: {reason}"


async def test_a_refused_token_of_a_file(tmp_path):
    """The file is read at once. The same token again would be refused again."""
    path = tmp_path / "token"
    path.write_text("first")
    source = TokenFile(path)
    assert source.current() == "first"
    assert await source.renew("first") == ""
    path.write_text("second")
    assert await source.renew("first") == "second"


async def test_a_function_is_called_once_and_again_after_a_refusal():
    """At most once per second, however many tokens are refused."""
    number = 0

    async def fetch() -> str:
        nonlocal number
        number += 1
        return f"token-{number}"

    source = FetchedToken(fetch)
    assert await source.get() == "token-1"
    assert await asyncio.gather(*(source.renew("token-1") for _ in range(9))) == ["token-2"] * 9
    assert await source.renew("token-2") == ""
    assert source.current() == "token-2"
