"""Who calls, as an implementation learns it, over each endpoint; and what a strict server tells to whom."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from meshcore import Mesh, Settings
from meshcore.wire.endpoints import STREAM, STREAM_PROTOCOL
from tests.support.certificates import Authority
from tests.support.tls_server import ServedMesh, client_context, served_mesh
from tests.support.whoami import OwnContext, Who, WhoClient, WhoModule

pytestmark = pytest.mark.one_python

BILLING = "certificate billing spiffe://dev.mesh/svc/billing"
WHO = json.dumps({"method": "who-component:who:calls", "args": []})
FORWARDED = {
    "x-forwarded-client-cert": "URI=spiffe://dev.mesh/svc/admin",
    "x-client-verify": "SUCCESS",
    "mesh-caller": "admin",
    "forwarded": "for=10.0.0.1",
}


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues all certificates of these tests."""
    return Authority.make()


async def invoke(session: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The answer to a call by `/invoke`."""
    headers = {"content-type": "application/json", "mesh-timeout-ms": "5000", **(headers or {})}
    async with session.post(f"{url}/invoke", data=WHO, headers=headers) as response:
        return dict(await response.json(content_type=None))


@asynccontextmanager
async def client(context: Any) -> AsyncGenerator[aiohttp.ClientSession]:
    """A session whose connections have this context."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield session


@pytest.fixture
async def strict(authority: Authority) -> AsyncGenerator[ServedMesh]:
    """A server with the default setting."""
    async with served_mesh(WhoModule, authority.credentials("who-component")) as server:
        yield server


@pytest.fixture
async def permissive(authority: Authority) -> AsyncGenerator[ServedMesh]:
    """A server of a team that migrates."""
    async with served_mesh(WhoModule, authority.credentials("who-component"), mutual_tls="permissive") as server:
        yield server


@pytest.mark.parametrize("channel", ["stream-msgpack", "dispatch-msgpack", "dispatch-json", "rest"])
async def test_each_channel_knows_its_caller(strict, authority, tmp_path, channel):
    """The caller of a call is whom the certificate of its connection proves, for one result and for many items."""
    OwnContext.context = client_context(authority, tmp_path, "billing")
    settings = Settings(registry=f"static:who-component={channel}({strict.url})", identity="none")
    async with Mesh(WhoClient, settings=settings, overrides={}) as mesh:
        who = await mesh.get_service(Who, channel)
        assert await who.calls() == BILLING
        assert [each async for each in who.each(2)] == [BILLING] * 2


async def test_forwarded_certificates_are_not_believed(strict, permissive, authority, tmp_path):
    """Headers by which proxies tell of a certificate change nothing."""
    async with client(client_context(authority, tmp_path, "billing")) as session:
        assert (await invoke(session, strict.url, FORWARDED))["result"] == BILLING
    async with client(client_context(authority, tmp_path)) as session:
        assert (await invoke(session, permissive.url, FORWARDED))["result"] == "none"
        assert (await invoke(session, strict.url, FORWARDED))["exception"]["code"] == "unauthenticated"


async def test_a_strict_server_refuses_who_has_no_certificate(strict, authority, tmp_path):
    """Without a certificate, and in clear text, nothing but the status of probes is told."""
    clear = strict.url.replace("https:", "http:")
    async with client(client_context(authority, tmp_path)) as session:
        for url in (strict.url, clear):
            failed = (await invoke(session, url))["exception"]
            assert failed["code"] == "unauthenticated"
            assert "mutual TLS" in failed["message"]
            for path in ("/report", "/contract", "/metrics", "/api/who", "/openapi.json", "/docs", "/mesh", "/no"):
                async with session.get(url + path) as response:
                    assert response.status == 401, path
            async with session.get(f"{url}/livez") as response:
                assert await response.json() == {"status": "ok"}
            async with session.get(f"{url}/readyz") as response:
                assert await response.json() == {"status": "ready"}
            async with session.get(f"{url}/health") as response:
                assert await response.json() == {"status": "ok"}
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(url + STREAM, protocols=[STREAM_PROTOCOL])
            assert caught.value.status == 401
    async with client(client_context(authority, tmp_path / "own", "billing")) as session:
        async with session.get(f"{strict.url}/livez") as response:
            assert "server" in await response.json()
        async with session.get(f"{strict.url}/health") as response:
            assert "checks" in await response.json()


async def test_a_large_body_of_a_stranger_is_not_read(strict, authority, tmp_path):
    """The refusal comes before the body, which is dropped."""
    async with client(client_context(authority, tmp_path)) as session:
        headers = {"content-type": "application/json"}
        async with session.post(f"{strict.url}/invoke", data=io.BytesIO(bytes(3_000_000)), headers=headers) as response:
            assert response.status == 401


async def test_a_permissive_server_takes_clear_text_on_its_port(permissive, authority, tmp_path):
    """One port takes TLS with a certificate, TLS without one, and clear text; the last two are anonymous."""
    async with client(client_context(authority, tmp_path, "billing")) as session:
        assert (await invoke(session, permissive.url))["result"] == BILLING
    async with client(client_context(authority, tmp_path)) as session:
        assert (await invoke(session, permissive.url))["result"] == "none"
        clear = permissive.url.replace("https:", "http:")
        assert (await invoke(session, clear))["result"] == "none"
        async with session.ws_connect(clear + STREAM, protocols=[STREAM_PROTOCOL]) as websocket:
            assert websocket.protocol == STREAM_PROTOCOL
        large = json.dumps({"method": "who-component:who:calls", "args": ["x" * 1_000_000]})
        headers = {"content-type": "application/json", "mesh-timeout-ms": "5000"}
        async with session.post(f"{clear}/invoke", data=large, headers=headers) as response:
            assert (await response.json())["exception"]["code"] == "invalid_argument"


async def test_the_unix_socket_stays_clear(authority, tmp_path):
    """Its clients are anonymous: a permissive server serves them, and a strict one answers only their probes."""
    for mode, expected in (("permissive", "none"), ("strict", None)):
        path = str(tmp_path / mode)
        identity = authority.credentials("who-component")
        async with (
            served_mesh(WhoModule, identity, unix_socket=path, mutual_tls=mode),
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
        ):
            assert (await invoke(session, "http://localhost"))["result"] == expected
            async with session.get("http://localhost/livez") as response:
                assert response.status == 200


async def test_what_is_no_tls_and_no_http_is_answered(strict):
    """Garbage and silence end soon, and the server goes on."""
    host, port = "127.0.0.1", int(strict.url.rpartition(":")[2])
    for data in (b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"\x41" * 300, b"GARBAGE\r\n\r\n", b"\x80\x2e\x01"):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(data)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
