"""TLS of a server: who calls, on every protocol, and what becomes of bad clients."""

from __future__ import annotations

import asyncio
import json
import logging

import aiohttp
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.support.certificates import Authority
from tests.support.tls_server import client_context, served, whoami

pytestmark = pytest.mark.one_python

OTHERS = [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "billing")]))]


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues all certificates of these tests."""
    return Authority.make()


async def ask(session: aiohttp.ClientSession, url: str) -> str:
    """Who the server says the client is."""
    async with session.get(url) as response:
        return str((await response.json(content_type=None))["identity"])


async def test_a_server_knows_the_certificate_of_each_connection(authority, tmp_path):
    """Of many connections that are opened at once and used for long, each has the caller of its own certificate."""
    names = ["", *(f"client{number}" for number in range(12))]
    contexts = {name: client_context(authority, tmp_path / (name or "none"), name) for name in names}

    async def use(name: str, url: str, start: asyncio.Event) -> set[str]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=contexts[name], limit=1)) as session:
            await start.wait()
            return {await ask(session, url) for _ in range(10)}

    async with served(whoami, authority.credentials("orders")) as server:
        start = asyncio.Event()
        users = [asyncio.create_task(use(name, server.url, start)) for name in names * 3]
        await asyncio.sleep(0)
        start.set()
        for name, seen in zip(names * 3, await asyncio.gather(*users), strict=True):
            assert seen == {f"spiffe://dev.mesh/svc/{name}" if name else ""}


async def test_a_websocket_has_the_caller_of_its_connection(authority, tmp_path):
    """The caller is also known to a WebSocket."""
    async with served(whoami, authority.credentials("orders")) as server, aiohttp.ClientSession() as session:
        context = client_context(authority, tmp_path, "billing")
        async with session.ws_connect(server.url, ssl=context) as websocket:
            assert json.loads(await websocket.receive_bytes())["identity"] == "spiffe://dev.mesh/svc/billing"


async def test_a_client_with_a_bad_certificate_is_refused(authority, tmp_path, caplog):
    """The handshake fails, the client is told by an alert, and the log says what is wrong."""
    caplog.set_level(logging.WARNING)
    other = Authority.make("another root")
    bad = {
        "expired": client_context(authority, tmp_path / "1", "billing", ends=-60),
        "self-signed": client_context(other, tmp_path / "2", "billing"),
        "2 URI names": client_context(authority, tmp_path / "3", "billing", uris=["spiffe://dev.mesh/svc/orders"]),
        "URI names, where": client_context(authority, tmp_path / "6", "billing", uris=["spiffe://x/y"], others=OTHERS),
        "that no name has": client_context(authority, tmp_path / "7", uris=["spiffe://dev.mesh/svc/a\nforged line"]),
        "no SPIFFE id": client_context(authority, tmp_path / "4", uris=["https://dev.mesh/svc/orders"]),
        "neither a URI name nor a DNS name": client_context(authority, tmp_path / "5", addresses=["127.0.0.1"]),
    }
    async with served(whoami, authority.credentials("orders")) as server:
        for reason, context in bad.items():
            context.load_verify_locations(cadata=authority.roots.decode())
            caplog.clear()
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.ClientError):
                    await session.get(server.url, ssl=context)
            assert reason in caplog.text
            assert all("\n" not in record.getMessage() for record in caplog.records)
