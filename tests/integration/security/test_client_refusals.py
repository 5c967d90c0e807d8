"""Whoever is not the server that was asked for is not called, and the text says what is wrong; over real sockets."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from meshcore import CommunicationError, Mesh, Settings, client_module
from meshcore.client.connections.no_answer import why_no_answer
from meshcore.client.connections.sessions import open_session, request_options
from meshcore.ports.identity import Credentials, IdentitySource
from meshcore.security.certificates import Certificates
from meshcore.security.tls.client_tls import ClientTLS
from tests.support.certificates import DAY, Authority, make_certificate
from tests.support.reference.desk import Clerk, Desk
from tests.support.rotating import PushedIdentity, rotating, trusting

pytestmark = pytest.mark.one_python

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
ROOT = Authority.make("our root")
MINE = ROOT.credentials("shop")


@asynccontextmanager
async def served(context: ssl.SSLContext | None) -> AsyncGenerator[str]:
    """A server that answers the first bytes of each connection; yields its host and port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1000):
            writer.write(ANSWER)
        writer.close()

    def ignore(*_: object) -> None:
        """Failed handshakes."""

    asyncio.get_running_loop().set_exception_handler(ignore)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


def credentials_of(authority: Authority, **names: Any) -> Credentials:
    """Credentials of a certificate with these names."""
    leaf = authority.leaf(**names)
    made = authority.credentials("any")
    return Credentials(
        identity="", names=(), issuer="", begins=0.0, ends=made.ends, chain=leaf.chain, key=leaf.key, roots=ROOT.roots
    )


@asynccontextmanager
async def client(mine: Credentials = MINE, **options: Any) -> AsyncGenerator[ClientTLS]:
    """The TLS of a client."""
    certificates = Certificates(PushedIdentity(mine), ("shop",))
    await certificates.start()
    tls = ClientTLS(certificates, **options)
    try:
        yield tls
    finally:
        tls.close()
        await certificates.aclose()


async def reason(url: str, component: str = "orders", mine: Credentials = MINE, **options: Any) -> str:
    """Why there is no answer, empty if there is one."""
    async with client(mine, **options) as tls, open_session(tls) as session:
        try:
            async with session.get(url, **request_options(session, component, url)):
                return ""
        except aiohttp.ClientError as error:
            return why_no_answer(error)


ASKED = "component 'orders' was asked for: let its certificate name that component (its SPIFFE id, or a DNS name)"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"component": "orders"}, ""),
        ({"dns": ["orders.prod.svc", "orders"]}, ""),
        ({"dns": ["x.prod", "orders.prod"]}, ""),
        ({"component": "billing"}, f"the server has proven to be spiffe://dev.mesh/svc/billing; {ASKED}"),
        ({"component": "Orders"}, f"the server has proven to be spiffe://dev.mesh/svc/Orders; {ASKED}"),
        ({"component": "billing", "dns": ["orders"]}, f"proven to be spiffe://dev.mesh/svc/billing; {ASKED}"),
        ({"dns": ["billing.orders"]}, f"the server has proven to be billing.orders; {ASKED}"),
        ({"dns": ["*.orders"]}, f"the server has proven to be *.orders; {ASKED}"),
        ({"addresses": ["127.0.0.1"]}, "cannot be used: it has neither a URI name nor a DNS name"),
        ({"component": "orders", "uris": ["spiffe://other/orders"]}, "cannot be used: it has 2 URI names"),
        ({"uris": ["https://dev.mesh/svc/orders"]}, "cannot be used: its URI name is no SPIFFE id"),
    ],
)
async def test_a_server_proves_the_component(names: dict[str, Any], expected: str) -> None:
    """By exactly one SPIFFE id, else by its DNS names; never by its address."""
    async with served(rotating(credentials_of(ROOT, **names))) as address:
        found = await reason(f"https://{address}")
    assert expected in found if expected else not found


async def test_an_untrusted_issuer() -> None:
    """The text says who has issued it, and where roots are named."""
    stranger = Authority.make("stranger")
    async with served(rotating(trusting(stranger.credentials("orders"), ROOT.roots))) as address:
        assert await reason(f"https://{address}") == (
            "the server's certificate, of spiffe://dev.mesh/svc/orders, is not trusted (unable to get local issuer "
            "certificate, issued by stranger): name the file of its authority in the roots of the setting identity"
        )


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({"begins": -2 * DAY, "ends": -DAY}, r"has expired on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: renew it"),
        ({"begins": DAY, "ends": 2 * DAY}, r"is not valid before \d{4}-\d\d-\d\d .* UTC: correct the clock of this"),
    ],
)
async def test_a_certificate_of_another_time(dates: dict[str, float], expected: str) -> None:
    """Expired since when, or valid from when."""
    async with served(rotating(ROOT.credentials("orders", **dates))) as address:
        found = await reason(f"https://{address}")
    assert re.search(f"of spiffe://dev.mesh/svc/orders, {expected}", found), found


async def test_clear_text_where_tls_was_expected() -> None:
    """The server speaks HTTP."""
    async with served(None) as address:
        assert await reason(f"https://{address}") == (
            "the answer is not TLS; the URL of this server seems to begin with http://"
        )


async def test_tls_where_clear_text_was_expected() -> None:
    """A server of asyncio closes such a connection. Whoever is strict does not even try."""
    async with served(rotating(ROOT.credentials("orders"))) as address:
        assert "http:// is clear text, and mutual_tls is strict" in await reason(f"http://{address}")
        settings = Settings(registry=f"static:desk=dispatch-msgpack(http://{address})", resilience=False)
        async with Mesh(client_module(Desk), settings=settings) as mesh:
            with pytest.raises(CommunicationError, match="a server that expects https:// does that"):
                await (await mesh.get_service(Clerk)).wait(0.0)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (False, "the server wants a certificate of the client"),
        (True, "the server refuses this client's certificate"),
    ],
)
async def test_a_server_refuses_this_client(version: ssl.TLSVersion, expected: str, *, shown: bool) -> None:
    """With TLS 1.3 that shows after the handshake. Nothing was processed, so another instance is asked."""
    stranger = Authority.make("stranger")
    mine = trusting(stranger.credentials("shop"), ROOT.roots)
    if not shown:
        mine = Credentials.trusting_only(ROOT.roots)
    context = rotating(ROOT.credentials("desk"))
    context.newest.maximum_version = version
    async with alerting(context.newest) as address:
        for channel in ("dispatch-msgpack", "stream-msgpack"):
            settings = Settings(
                registry=f"static:desk={channel}(https://{address})", resilience=False, tls_minimum="1.2"
            )
            overrides: dict[type, object] = {IdentitySource: PushedIdentity(mine)}
            async with Mesh(client_module(Desk), settings=settings, overrides=overrides) as mesh:
                with pytest.raises(CommunicationError) as raised:
                    await (await mesh.get_service(Clerk)).wait(0.0)
            if version is ssl.TLSVersion.TLSv1_2 and not shown:
                assert "it may want another version of TLS, or a certificate of the client" in raised.value.message
            else:
                assert expected in raised.value.message
            assert raised.value.processed is False


@asynccontextmanager
async def alerting(context: ssl.SSLContext) -> AsyncGenerator[str]:
    """A server that sends its alert when a handshake fails, which servers of asyncio do not. In threads."""

    def serve(sock: socket.socket) -> None:
        sock.settimeout(5.0)
        with context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as secured:
            with suppress(ssl.SSLError):
                secured.do_handshake()
            while socket.socket.recv(secured, 1000):  # otherwise closing would overtake the alert
                pass

    async def accept(server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(server)
            sock.setblocking(True)  # noqa: FBT003 - its signature
            await asyncio.to_thread(serve, sock)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)  # noqa: FBT003 - its signature
        task = asyncio.create_task(accept(server))
        try:
            yield "{}:{}".format(*server.getsockname())
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_host_of_the_operator(tmp_path: Path) -> None:
    """Where the operator writes the addresses, a server that is no mesh proves to be its host."""
    leaf = credentials_of(ROOT, dns=["gateway.example"], addresses=["127.0.0.1"])
    async with served(rotating(leaf)) as address:
        assert not await reason(f"https://{address}", by_host=True)
        assert "component 'orders' was asked for" in await reason(f"https://{address}")
    other = make_certificate(tmp_path / "other", "IP:127.0.0.1")
    async with served(other.server_context()) as address:
        assert "is not trusted" in await reason(f"https://{address}", by_host=True)


async def test_who_is_asked_for() -> None:
    """By its component; a host with a domain that the operator has written by its host."""
    async with client() as tls, client(by_host=True) as written:
        of = {
            (each, host): each.options("orders", URL(f"https://{host}:1"))["server_hostname"]
            for each in (tls, written)
            for host in ("10.0.0.1", "orders", "shop.example")
        }
        assert [of[tls, host] for host in ("10.0.0.1", "orders", "shop.example")] == ["orders"] * 3
        assert [of[written, host] for host in ("10.0.0.1", "orders", "shop.example")] == [
            "orders",
            "orders",
            "shop.example",
        ]
        assert tls.options("x" * 64, URL("https://10.0.0.1"))["server_hostname"] == "10.0.0.1"


async def test_roots_alone_are_enough() -> None:
    """For servers that want no certificate of their clients."""
    roots = Credentials.trusting_only(ROOT.roots)
    context = rotating(ROOT.credentials("orders"))
    context.newest.verify_mode = ssl.CERT_NONE
    async with served(context) as address:
        assert not await reason(f"https://{address}", mine=roots)
