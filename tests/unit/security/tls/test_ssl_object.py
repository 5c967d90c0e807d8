"""The SSL objects of both sides, as event loops read them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore.security.tls.load_credentials import load_credentials
from meshcore.security.tls.ssl_object import LoopSSLObject
from tests.support.certificates import Authority

_ASKED = 2**18  # by asyncio and uvloop


class Pair:
    """A client and a server that are connected in memory, after their handshake."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        self.sent, self.incoming, back = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
        to_client = ssl.MemoryBIO()
        made = server.wrap_bio(self.incoming, back, server_side=True)
        assert isinstance(made, LoopSSLObject)
        made.incoming = self.incoming
        self.server: LoopSSLObject = made
        self.client = client.wrap_bio(to_client, self.sent)
        for side in (self.client, self.server, self.client, self.server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
            self.incoming.write(self.sent.read())
            to_client.write(back.read())

    def read(self, size: int = _ASKED) -> bytes:
        """What can be read, until the server wants more."""
        found = b""
        try:
            while part := self.server.read(size):
                assert len(part) <= size
                found += part
        except ssl.SSLWantReadError:
            return found
        return found + b"<end>"

    def read_into(self, size: int) -> bytes:
        """Likewise, into a buffer."""
        found, buffer = b"", bytearray(size)
        try:
            while count := self.server.read(size, buffer):
                found += buffer[:count]
        except ssl.SSLWantReadError:
            return found
        return found + b"<end>"


@pytest.fixture(scope="module")
def connect() -> Callable[[], Pair]:
    """Makes pairs."""
    authority = Authority.make()
    credentials = authority.credentials("orders")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.sslobject_class = LoopSSLObject
    load_credentials(server, credentials)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=credentials.roots.decode())
    return lambda: Pair(server, client)


@given(
    st.lists(st.binary(min_size=1, max_size=200) | st.just(b"x" * 40_000), max_size=5),
    st.lists(st.integers(1, 20_000), max_size=8),
    st.integers(1, 300) | st.just(_ASKED),
    st.booleans(),
)
@settings(deadline=None)
def test_what_is_written_is_read_however_it_is_cut(connect, messages, cuts, size, into):
    """Nothing stays behind when the other side has sent all: an event loop would not ask again."""
    pair = connect()
    for message in messages:
        pair.client.write(message)
    data, found = pair.sent.read(), b""
    for cut in [*cuts, len(data)]:
        pair.incoming.write(data[:cut])
        data = data[cut:]
        found += pair.read_into(size) if into else pair.read(size)
    assert found == b"".join(messages)


def test_the_end_is_read_after_the_last_message(connect):
    """The end of the connection is told once all that came before it was read."""
    pair = connect()
    pair.client.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    pair.incoming.write(pair.sent.read())
    assert pair.read() == b"last words<end>"


def test_a_connection_that_was_cut_off_is_no_end_in_good_order(connect):
    """The end of the bytes reaches OpenSSL, which says that the peer has not closed."""
    pair = connect()
    pair.incoming.write_eof()
    with pytest.raises(ssl.SSLEOFError):
        pair.read()


def test_a_broken_record_is_an_error(connect):
    """Nobody takes bytes that were changed for messages."""
    pair = connect()
    pair.client.write(b"ten pounds")
    data = bytearray(pair.sent.read())
    data[-1] ^= 1
    pair.incoming.write(data)
    with pytest.raises(ssl.SSLError, match=r"(?i)mac"):
        pair.read()
