"""Tokens of an OAuth endpoint: what is sent, when they are renewed, an endpoint that is away or answers nonsense."""

from __future__ import annotations

import asyncio
import base64

import pytest

from meshcore import ClientCredentials, Code, CommunicationError, LocalError
from tests.support.issuer import issuer
from tests.support.verifying import Clock

pytestmark = pytest.mark.one_python


async def test_client_credentials_are_sent_as_oauth_says():
    """By HTTP Basic, each part encoded as in a form; or in the form."""
    async with issuer() as server:
        url = f"{server.url}/token"
        one = ClientCredentials(url, "or:ders", secret="s p%", scope=["read", "write"], audience="stock")
        assert await one.get() == "token-1"
        other = ClientCredentials(url, "orders", secret="s p%", in_body=True)
        assert await other.get() == "token-2"
    basic = base64.b64encode(b"or%3Aders:s+p%25").decode()
    assert server.forms == [
        {
            "grant_type": "client_credentials",
            "scope": "read write",
            "audience": "stock",
            "basic": f"Basic {basic}",
        },
        {"grant_type": "client_credentials", "client_id": "orders", "client_secret": "s p%", "basic": ""},
    ]


async def test_one_fetch_for_all_who_wait():
    """Also if the first of them leaves."""
    async with issuer() as server:
        source = ClientCredentials(f"{server.url}/token", "orders", secret="secret")
        first, *others = [asyncio.create_task(source.get()) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == ["token-1"] * 19
        assert first.cancelled()
        assert len(server.forms) == 1


async def test_a_token_is_renewed_ahead_of_its_end(tmp_path):
    """The old one is used meanwhile. The secret is read anew, since it may have been replaced."""
    clock = Clock()
    (tmp_path / "secret").write_text("first\n")
    async with issuer() as server:
        source = ClientCredentials(f"{server.url}/token", "orders", secret_file=tmp_path / "secret", clock=clock)
        assert source.current() == ""
        assert await source.get() == "token-1"
        clock.now += 0.6 * 600
        assert source.current() == "token-1"
        assert len(server.forms) == 1
        (tmp_path / "secret").write_text("second\n")
        clock.now += 0.28 * 600
        assert source.current() == "token-1"
        async with asyncio.timeout(10):
            while source.current() != "token-2":
                await asyncio.sleep(0.001)
    assert [base64.b64decode(each["basic"][6:]).decode() for each in server.forms] == ["orders:first", "orders:second"]


async def test_an_endpoint_that_is_away(caplog):
    """The old token is used as long as it is valid; then calls fail, and the endpoint is asked at a bounded rate."""
    clock = Clock()
    async with issuer() as server:
        source = ClientCredentials(f"{server.url}/token", "orders", secret="SECRET", clock=clock)
        assert await source.get() == "token-1"
        server.status = 503
        clock.now += 0.9 * 600
        assert await source.get() == "token-1"
        async with asyncio.timeout(10):
            while not caplog.records:
                await asyncio.sleep(0.001)
        assert source.current() == "token-1"
        clock.now += 0.06 * 600
        with pytest.raises(CommunicationError) as away:
            await source.get()
        asked = len(server.forms)
        for _ in range(20):
            with pytest.raises(CommunicationError):
                await source.get()
        assert len(server.forms) == asked
        assert (away.value.code, away.value.processed) == (Code.UNAVAILABLE, False)
        server.status = 200
        clock.now += 61.0
        assert (await source.get()).startswith("token-")
    told = f"a token for orders from {server.url}/token"
    assert str(away.value) == f"unavailable: cannot get {told}: {server.url}/token answered with status 503"
    (line,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert line.startswith(f"cannot get {told}: {server.url}/token answered with status 503; the old one may be used")
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (
            401,
            b'{"error": "invalid_client", "error_description": "SECRET"}',
            "answered with status 401 (invalid_client)",
        ),
        (400, b'{"error": "SECRET!"}', "answered with status 400"),
        (200, b"<html>SECRET</html>", "is no JSON of a token"),
        (200, b'{"access_token": "SECRET", "token_type": "mac"}', "gave a token that is not a bearer token"),
        (200, b'{"access_token": "SE CRET", "token_type": "bearer"}', "is a space, which no bearer token has"),
        (200, b'{"access_token": "", "token_type": "bearer"}', "cannot be sent: it is empty"),
        (200, b'{"access_token": "S", "token_type": "bearer", "expires_in": 0}', "it has expired when it arrives"),
        (200, b'{"access_token": "S", "token_type": "bearer", "expires_in": -1e300}', "has expired when it arrives"),
        (200, b"[" * 100_000, "is no JSON of a token"),
        (200, b'{"access_token": "' + b"S" * 200_000, "is larger than 131072 bytes"),
        (302, b"", "answered with status 302"),
    ],
)
async def test_an_answer_that_is_no_token(status, answer, reason):
    """The error says what is wrong, and shows neither the token nor the secret."""
    async with issuer() as server:
        server.status, server.answer = status, answer
        source = ClientCredentials(f"{server.url}/token", "orders", secret="SECRET")
        with pytest.raises(LocalError) as wrong:
            await source.get()
    assert wrong.value.code is Code.FAILED_PRECONDITION
    assert reason in str(wrong.value)
    assert "SECRET" not in str(wrong.value)
    assert "SECRET" not in repr(source)


async def test_nobody_listens():
    """A refused connection is told as such."""
    async with issuer() as server:
        pass
    source = ClientCredentials(f"{server.url}/token", "orders", secret="SECRET")
    with pytest.raises(CommunicationError, match=r"/token cannot be reached: .*refused|Connect call failed") as wrong:
        await source.get()
    assert "SECRET" not in str(wrong.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://login.example/token", "must be https, since its host login.example is not this machine"),
        ("http://10.0.0.1/token", "must be https"),
        ("http://localhost.evil.example/token", "must be https"),
        ("https://orders:SECRET@login.example/token", "must not have a user or a password in it"),
        ("ftp://login.example", "must be a URL such as"),
        ("/token", "must be a URL such as"),
        ("http://[::1", "is not a URL"),
    ],
)
def test_an_endpoint_that_is_not_safe(url, reason):
    """Clear text only on this machine."""
    with pytest.raises(ValueError, match="the URL of the token endpoint") as wrong:
        ClientCredentials(url, "orders", secret="s")
    assert reason in str(wrong.value)
    assert "SECRET" not in str(wrong.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_this_machine_needs_no_https(host):
    """For development and for tests."""
    assert host in repr(ClientCredentials(f"http://{host}:8080/token", "orders", secret="s"))


def test_exactly_one_secret(tmp_path):
    """Neither none nor two."""
    for more in ({}, {"secret": "s", "secret_file": tmp_path}):
        with pytest.raises(ValueError, match="give either secret or secret_file"):
            ClientCredentials("https://login.example/token", "orders", **more)


async def test_a_secret_that_cannot_be_read(tmp_path):
    """The file is named."""
    source = ClientCredentials("https://login.example/token", "orders", secret_file=tmp_path / "none")
    with pytest.raises(LocalError, match=r"the secret in .*none cannot be read: No such file"):
        await source.get()


async def test_a_fetch_that_runs_ends_with_its_source():
    """`aclose` leaves no task."""
    async with issuer() as server:
        source = ClientCredentials(f"{server.url}/token", "orders", secret="s")
        assert source.current() == ""
        await source.aclose()
        assert [each.get_name() for each in asyncio.all_tasks() if each.get_name().startswith("meshcore")] == []
