"""Whoever calls a server with the wrong certificate, or without TLS, is told so, and what mends it."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from meshcore import CommunicationError, Mesh, Settings, client_module
from meshcore.client.connections.no_answer import why_no_answer
from tests.support.certificates import Certificate, make_certificate
from tests.support.reference.desk import Clerk, Desk

pytestmark = pytest.mark.one_python

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
ALERT = b"\x15\x03\x01\x00\x02\x02\x46"  # "protocol version"


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("certificates") / "right")


@asynccontextmanager
async def served(context: ssl.SSLContext | None, answer: bytes = ANSWER):
    """A server that answers the first bytes of each connection; yields its host and port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1000):
            writer.write(answer)
        writer.close()

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # failed handshakes
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


async def reason(url: str, context: ssl.SSLContext) -> str:
    """Why there is no answer, empty if there is one."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        try:
            async with session.get(url):
                return ""
        except aiohttp.ClientError as error:
            return why_no_answer(error)


async def called(url: str) -> str:
    """The error text of a call there."""
    settings = Settings(registry=f"static:desk=dispatch-msgpack({url})", resilience=False)
    async with Mesh(client_module(Desk), settings=settings) as mesh:
        clerk = await mesh.get_service(Clerk)
        with pytest.raises(CommunicationError) as raised:
            await clerk.wait(0.0)
    prefix = f"clerk.wait: no answer from {url}: "
    assert raised.value.message.startswith(prefix)
    return raised.value.message.removeprefix(prefix)


async def test_the_right_certificate_is_trusted(right):
    """Nothing is wrong with it."""
    async with served(right.server_context()) as address:
        assert await reason(f"https://{address}", right.client_context()) == ""


async def test_an_untrusted_certificate(right):
    """The text says what OpenSSL says, and where authorities are named."""
    async with served(right.server_context()) as address:
        assert await called(f"https://{address}") == (
            "the server's certificate is not trusted (self-signed certificate): name the file of its authority in "
            "the setting identity (files:/path?roots=... if this process serves nothing), in SSL_CERT_FILE, or in the "
            "ssl context of a session of your own"
        )


async def test_an_untrusted_certificate_at_the_command_line(right):
    """Whatever asks a server says the same."""
    async with served(right.server_context()) as address:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshcore.cli", "diff", *[f"https://{address}"] * 2),
            env={**os.environ, "SSL_CERT_FILE": os.devnull},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    assert "the server's certificate is not trusted" in " ".join(output.decode().split())


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({"end": "210101000000Z"}, "the server's certificate has expired: renew it, or one of its authorities"),
        (
            {"start": "480101000000Z"},
            "the server's certificate is not valid yet: correct the clock of this machine, or renew it",
        ),
    ],
)
async def test_a_certificate_of_another_time(tmp_path: Path, dates, expected):
    """Expired, or not valid yet."""
    made = make_certificate(tmp_path / "made", **dates)
    async with served(made.server_context()) as address:
        assert await reason(f"https://{address}", made.client_context()) == expected


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("127.0.0.1", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("localhost", "Hostname mismatch, certificate is not valid for 'localhost'"),
    ],
)
async def test_a_certificate_for_another_name(tmp_path: Path, host, found):
    """The text has the name that the URL has."""
    made = make_certificate(tmp_path / "made", "DNS:orders.example")
    async with served(made.server_context()) as address:
        url = f"https://{host}:{address.partition(':')[2]}"
        assert await reason(url, made.client_context()) == (
            f"the server's certificate is for another name ({found}): advertise a URL with a name of its "
            "subjectAltName, or add this one to it"
        )


async def test_a_server_without_tls(right):
    """A URL with https:// that should have http://."""
    async with served(None) as address:
        assert await called(f"https://{address}") == (
            "the answer is not TLS; the URL of this server seems to begin with http://"
        )


async def test_clear_text_to_a_server_with_tls(right):
    """Servers of asyncio close the connection; others answer with an alert."""
    async with served(right.server_context()) as address:
        assert await called(f"http://{address}") == (
            "the connection was closed before the answer; a server that expects https:// does that"
        )
    async with served(None, ALERT) as address:
        expected = "the answer is TLS; the URL of this server seems to begin with https://"
        assert await called(f"http://{address}") == expected
        assert await reason(f"http://{address}", right.client_context()) == expected


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_wants_a_certificate(right, version):
    """Depending on the version the handshake fails, or the first read."""
    context = right.server_context()
    context.load_verify_locations(right.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    async with served(context) as address:
        found = await reason(f"https://{address}", right.client_context())
    # asyncio sends no alert, so on TLS 1.3 there is nothing but a closed connection.
    assert found.endswith(
        "or a certificate of the client" if version is ssl.TLSVersion.TLSv1_2 else "before the answer"
    )
    with_its_own = right.client_context()
    with_its_own.load_cert_chain(right.certificate, right.key)
    async with served(context) as address:
        assert await reason(f"https://{address}", with_its_own) == ""


async def test_a_call_to_a_server_that_wants_a_certificate(right, monkeypatch):
    """A first connection that is closed without a word may have lacked one."""
    context = right.server_context()
    context.load_verify_locations(right.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    connector = aiohttp.TCPConnector
    monkeypatch.setattr(aiohttp, "TCPConnector", lambda **options: connector(ssl=right.client_context(), **options))
    async with served(context) as address:
        assert await called(f"https://{address}") == (
            "the connection was closed before the answer; a server that expects a certificate of the client does that"
        )


async def test_versions_of_tls_that_do_not_meet(right):
    """The handshake fails."""
    old, new = right.server_context(), right.client_context()
    old.maximum_version, new.minimum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    async with served(old) as address:
        assert "during the TLS handshake; it may want another version" in await reason(f"https://{address}", new)
