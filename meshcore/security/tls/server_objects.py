"""The server's side of a TLS connection, as event loops drive it: `ssl.SSLObject` with a handshake of our own.

asyncio and uvloop call `do_handshake` until it returns, then make the task that serves the connection. So this is where
the connection learns who its client is. Two things replace the object of OpenSSL behind it:

- `_ClearText`, if what the client sends is not TLS. Then bytes pass unchanged.
- `_Refused`, if the handshake has failed. Event loops would close such a connection without the alert that tells the
  client why. Here the handshake ends, the alert is written, and what serves the connection reads its end.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from meshcore.core.suggest import shown
from meshcore.security.proven import end_of, proven_caller
from meshcore.security.tls.served_connection import ServedConnection, served_connection
from meshcore.security.tls.ssl_object import LoopSSLObject

if TYPE_CHECKING:
    from meshcore.security.tls.server_tls import ServerTLS

_HANDSHAKE: Final = 0x16
"""The first byte of TLS: the type of a record with a message of a handshake."""

_DER: Final = 2  # the constant ENCODING_DER of OpenSSL's side of the module


class ServerSSLObject(LoopSSLObject):
    """One connection. `ServerTLS.wrap` makes it."""

    tls: ServerTLS
    outgoing: ssl.MemoryBIO
    _begun = False

    def do_handshake(self) -> None:
        """Go on with the handshake.

        Raises:
            ssl.SSLWantReadError: more bytes must come.
        """
        if not self._begun:
            if not self.incoming.pending:
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the client has sent nothing yet")
            self._begun = True
            # What is read can be written again: it stays in its order.
            first = self.incoming.read()
            self.incoming.write(first)
            if first[0] != _HANDSHAKE:
                self._sslobj = _ClearText(self.incoming, self.outgoing)
                self._settle(ServedConnection(clear=True))
                return
        try:
            super().do_handshake()
            connection = self._proven()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except (ssl.SSLError, ValueError) as error:
            self.tls.failed(error, self._shown())
            self.refuse()
            served_connection.set(None)
        else:
            self._settle(connection)

    def refuse(self) -> None:
        """Read nothing more of the client: it reads as the end of the connection."""
        self._sslobj = _Refused()

    def _settle(self, connection: ServedConnection) -> None:
        served_connection.set(connection)
        self.tls.opened(self, connection)

    def _proven(self) -> ServedConnection:
        """Who the client is.

        Raises:
            ValueError: its certificate does not say.
        """
        certificate = self.getpeercert()
        if not certificate:
            return ServedConnection()
        caller = proven_caller(certificate)
        return ServedConnection(caller, root=self._root(), ends=end_of(str(certificate["notAfter"])))

    def _root(self) -> bytes:
        chain = self._sslobj.get_verified_chain()
        return bytes(chain[-1].public_bytes(_DER)) if chain else b""

    def _shown(self) -> str:
        """The certificate that the client has shown, which may be wrong; empty if there is none."""
        chain = self._sslobj.get_unverified_chain()
        if not chain:
            return ""
        with suppress(ssl.SSLError, ValueError):  # it may have names that cannot be read
            fields = chain[0].get_info()
            # The name of a directory is a tuple. The log gets lines of one line, and not all of a thousand names.
            names = ", ".join(shown(text) for _, text in fields.get("subjectAltName", ())[:4] if isinstance(text, str))
            issuer = ", ".join(shown(text) for part in fields.get("issuer", ())[:8] for _, text in part[:2])
            return f"{names or 'a certificate without names'}, issued by {issuer}"
        return "a certificate that cannot be read"


class _ClearText:
    """Stands for the object of OpenSSL on a connection without TLS."""

    def __init__(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self.context = None

    def read(self, size: int = 1024, buffer: Any = None) -> Any:
        data = self._incoming.read(len(buffer) if buffer is not None and size <= 0 else size)
        if not data and not self._incoming.eof:
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the client has sent nothing more yet")
        if buffer is None:
            return data
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        return self._outgoing.write(data)

    def pending(self) -> int:
        return self._incoming.pending

    def getpeercert(self, binary_form: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - the signature of ssl
        return None

    cipher = compression = selected_alpn_protocol = version = shutdown = getpeercert


class _Refused:
    """Stands for the object of OpenSSL after a handshake that has failed. Nothing can be read or written."""

    def read(self, size: int = 1024, buffer: Any = None) -> Any:  # noqa: ARG002 - the signature of ssl
        return b"" if buffer is None else 0

    def write(self, data: Any) -> int:
        return len(data)

    def pending(self) -> int:
        return 1  # so that the end is read, although nothing comes

    def getpeercert(self, binary_form: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - the signature of ssl
        return None

    cipher = compression = selected_alpn_protocol = version = shutdown = getpeercert
