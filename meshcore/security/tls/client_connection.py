"""The client's side of a TLS connection, as event loops drive it: `ssl.SSLObject` that checks whom it has reached."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from math import inf
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meshcore.security.proven import end_of, proven_names
from meshcore.security.tls.client_errors import ShownCertificate, WrongServerError
from meshcore.security.tls.ssl_object import LoopSSLObject

if TYPE_CHECKING:
    from meshcore.security.tls.client_tls import ClientTLS

_DER: Final = 2  # the constant ENCODING_DER of OpenSSL's side of the module


class Wanted(msgspec.Struct, frozen=True):
    """Which server is asked for.

    Attributes:
        component: that it has to prove; empty for any.
        host: of the URL, if a certificate for that host will do as well; empty if not.
    """

    component: str
    host: str = ""

    def objection(self, fields: dict[str, Any], *, of_mesh: bool) -> str:
        """Why a certificate does not prove this server, empty if it does.

        Args:
            fields: of the certificate, as `SSLObject.getpeercert()` returns them. It was verified.
            of_mesh: whether it was verified by a root of the mesh. Others prove hosts only.
        """
        alternatives: tuple[tuple[str, str], ...] = fields.get("subjectAltName", ())
        try:
            identity, components = proven_names(alternatives)
        except ValueError as error:
            identity, components, reason = "", (), f"the server's certificate cannot be used: {error}"
        else:
            reason = f"the server has proven to be {identity}"
        if of_mesh and components and (not self.component or self.component in components):
            return ""
        if self.host and _is_for_host(alternatives, self.host):
            return ""
        asked = [f"component {self.component!r}"] if self.component else []
        asked += [f"host {self.host!r}"] if self.host else []
        return f"{reason}; {' or '.join(asked) or 'a component'} was asked for"


def _is_for_host(alternatives: tuple[tuple[str, str], ...], host: str) -> bool:
    """Whether a certificate is for a host (RFC 6125). A wildcard stands for the whole first label only."""
    host = host.rstrip(".").lower()
    with suppress(ValueError):
        address = ip_address(host)
        return any(kind == "IP Address" and address == ip_address(text.strip()) for kind, text in alternatives)
    first, _, rest = host.partition(".")
    for kind, text in alternatives:
        name = text.rstrip(".").lower()
        if kind == "DNS" and (name == host or (first and "." in rest and name == f"*.{rest}")):
            return True
    return False


class ClientConnection(LoopSSLObject):
    """One connection to a server. `ClientContext` makes it.

    Attributes:
        tls: of this process.
        wanted: the server that is asked for.
        own_ends: when the certificate of this process ends with which it was opened, in seconds since the epoch.
        generation: of the certificates with which it was opened.
        root: the root of the mesh by which the server was verified, in DER; empty if it was another root.
        ends: when the first of both certificates ends.
        stale: whether another connection should be used from now on.
        cut: closes it at once. None as long as nothing uses it.
    """

    tls: ClientTLS
    wanted: Wanted
    own_ends: float = inf
    generation = 0
    root: bytes = b""
    ends: float = inf
    stale = False
    cut: Callable[[], None] | None = None
    _told: tuple[Callable[[], None], ...] = ()

    def do_handshake(self) -> None:
        """Go on with the handshake, and check at its end whom it has reached.

        Raises:
            ssl.SSLWantReadError: more bytes must come.
            ssl.SSLError: it has failed. Errors of the server's certificate have it as `shown`.
        """
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            error.shown = self._shown()  # type: ignore[attr-defined]
            raise
        fields: dict[str, Any] = self.getpeercert() or {}
        chain = self._sslobj.get_verified_chain()
        root = bytes(chain[-1].public_bytes(_DER)) if chain else b""
        of_mesh = self.tls.trusts(root)
        objection = self.wanted.objection(fields, of_mesh=of_mesh)
        if objection:
            raise WrongServerError(objection)
        self.root = root if of_mesh else b""
        self.ends = min(self.own_ends, end_of(str(fields["notAfter"])))
        self.tls.opened(self)

    def _shown(self) -> ShownCertificate | None:
        with suppress(AttributeError, LookupError, TypeError, ValueError):  # texts of errors may do without
            return ShownCertificate(self._sslobj.get_unverified_chain()[0].get_info())
        return None

    def on_stale(self, told: Callable[[], None]) -> None:
        """Call this once the connection is stale, or at once if it is."""
        if self.stale:
            told()
        else:
            self._told += (told,)

    def retire(self) -> None:
        """Let nothing new begin on it. What is under way goes on."""
        if not self.stale:
            self.stale = True
            told, self._told = self._told, ()
            for each in told:
                each()
