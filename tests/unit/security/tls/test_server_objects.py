"""A server's side of a TLS connection, driven in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore.security.certificates import Certificates
from meshcore.security.tls.served_connection import ServedConnection, served_connection
from meshcore.security.tls.server_tls import ServerTLS, server_context
from tests.support.certificates import Authority
from tests.support.tls_server import GivenCredentials, client_context


@pytest.fixture(scope="module")
def root() -> Authority:
    """Issues all certificates of these tests."""
    return Authority.make()


@pytest.fixture(autouse=True)
def nobody():
    """No test leaves a connection to the next one."""
    token = served_connection.set(None)
    yield
    served_connection.reset(token)


async def started(root: Authority, *components: str, minimum: str = "1.3") -> ServerTLS:
    """The TLS of a server of these components."""
    certificates = Certificates(GivenCredentials(*(root.credentials(each) for each in components)), components)
    await certificates.start()
    tls = ServerTLS(certificates, minimum=minimum)
    tls.start()
    await certificates.aclose()
    tls.close()
    return tls


class Wire:
    """A client and a server, and what they have sent each other."""

    def __init__(self, tls: ServerTLS, client: ssl.SSLContext, name: str | None = None) -> None:
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server_context(lambda: tls).wrap_bio(self.to_server, self.to_client, server_side=True)
        self.client = client.wrap_bio(self.to_client, self.to_server, server_hostname=name)

    def shake(self) -> ServedConnection | None:
        """Let both make their handshake. Returns what the server knows then."""
        left = [self.client, self.server]
        for _ in range(10):
            for each in tuple(left):
                with contextlib.suppress(ssl.SSLWantReadError):
                    each.do_handshake()
                    left.remove(each)
        assert not left
        return served_connection.get()


async def test_the_certificate_is_chosen_by_the_name_that_is_asked_for(root, tmp_path):
    """Of several components each has its own; who asks for no name, or for another one, gets the first."""
    tls = await started(root, "orders", "stock")
    asked = {"orders": "orders", "stock": "stock", "STOCK": "stock", "other": "orders", None: "orders"}
    context = client_context(root, tmp_path / "client", "billing")
    for name, expected in asked.items():
        wire = Wire(tls, context, name)
        found = wire.shake()
        certificate = wire.client.getpeercert() or {}
        assert certificate["subjectAltName"] == (("URI", f"spiffe://dev.mesh/svc/{expected}"),)
        assert found is not None
        assert found.caller.component == "billing"


async def test_the_oldest_version_is_a_setting(root, tmp_path, caplog):
    """By default TLS 1.2 is refused, which the log says; with the setting it is spoken."""
    caplog.set_level(logging.WARNING)
    context = client_context(root, tmp_path, "billing")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    tls = await started(root, "orders")
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        Wire(tls, context).shake()
    assert "only an older version of TLS (setting tls_minimum)" in caplog.text
    assert served_connection.get() is None
    wire = Wire(await started(root, "orders", minimum="1.2"), context)
    found = wire.shake()
    assert wire.client.version() == "TLSv1.2"
    assert found is not None
    assert found.caller.component == "billing"


@pytest.mark.parametrize(("minimum", "maximum"), [("1.3", ssl.TLSVersion.TLSv1_3), ("1.2", ssl.TLSVersion.TLSv1_2)])
async def test_there_are_no_tickets(root, tmp_path, minimum, maximum):
    """A client gets nothing by which it could come back without its certificate."""
    context = client_context(root, tmp_path, "billing")
    context.maximum_version = maximum
    wire = Wire(await started(root, "orders", minimum=minimum), context)
    wire.shake()
    wire.server.write(b"1")
    assert wire.client.read() == b"1"
    session = wire.client.session
    assert session is None or not session.has_ticket


async def test_what_is_refused_has_ended_although_nothing_comes(root, tmp_path):
    """Event loops read on only if something is pending, and then read the end."""
    wire = Wire(await started(root, "orders"), client_context(root, tmp_path, "billing"))
    wire.shake()
    with pytest.raises(ssl.SSLWantReadError):
        wire.server.read(2**18)
    wire.server.refuse()
    assert wire.server.pending()
    assert wire.server.read(2**18) == b""
    assert wire.server.read(8, bytearray(8)) == 0


@given(st.binary(min_size=1, max_size=400), st.lists(st.integers(1, 50), max_size=5))
@settings(max_examples=50, deadline=None)
def test_whatever_a_client_sends_is_clear_text_or_refused(data, cuts):
    """Bytes that are no TLS are passed on unchanged. What only begins like TLS is refused, or more is awaited."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = server_context(shared).wrap_bio(incoming, outgoing, server_side=True)
    served_connection.set(None)
    rest, done = data, False
    for cut in [*cuts, len(data)]:
        incoming.write(rest[:cut])
        rest = rest[cut:]
        if not done:
            with contextlib.suppress(ssl.SSLWantReadError):
                made.do_handshake()
                done = True
    found = served_connection.get()
    if data[0] == 0x16:
        assert found is None
        assert not done or made.read(1000) == b""
        return
    assert done
    assert found is not None
    assert found.clear
    assert made.read(1000) == data
    with pytest.raises(ssl.SSLWantReadError):
        made.read(1000)
    made.write(b"answer")
    assert outgoing.read() == b"answer"
    incoming.write_eof()
    assert made.read(1000) == b""


_made: list[ServerTLS] = []


def shared() -> ServerTLS:
    """One for all examples; hypothesis runs them without an event loop."""
    if not _made:
        _made.append(asyncio.run(started(Authority.make(), "orders")))
    return _made[0]
