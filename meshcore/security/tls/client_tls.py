"""The TLS of the connections that this process opens: which certificates they use, and when they are replaced."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from math import inf
from typing import Any, Final
from weakref import WeakSet

from yarl import URL

from meshcore.security.certificates import Certificates
from meshcore.security.tls.client_connection import ClientConnection, Wanted
from meshcore.security.tls.client_errors import ClearTextError
from meshcore.security.tls.connector import TLSConnector
from meshcore.security.tls.load_credentials import load_credentials
from meshcore.security.tls.root_keys import root_key, root_keys

log = logging.getLogger(__name__)

CUT_AFTER: Final = 0.5
"""Seconds that calls may take to end on a connection whose root is not trusted any more. Then it is closed."""

_LONGEST_SLEEP: Final = 60.0
"""Seconds between two looks at the clock. It may be set, and its seconds are not those of timers."""

_MANY: Final = 1024
"""Contexts that are kept."""

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class ClientContext(ssl.SSLContext):
    """Opens connections to one server with the certificates of one moment.

    It has no certificates itself: `wrap_bio`, which event loops call for each connection, asks for those. So it is
    cheap, and whatever else would use it trusts nobody.
    """

    tls: ClientTLS
    wanted: Wanted
    newest: ssl.SSLContext
    own_ends: float
    generation: int

    def wrap_bio(self, incoming: ssl.MemoryBIO, *args: Any, **options: Any) -> ssl.SSLObject:
        """Make the SSL object of a connection."""
        made = self.newest.wrap_bio(incoming, *args, **options)
        assert isinstance(made, ClientConnection)  # noqa: S101 - the class that `newest` has been given
        made.tls, made.wanted, made.own_ends = self.tls, self.wanted, self.own_ends
        made.incoming, made.generation = incoming, self.generation
        return made


class ClientTLS:
    """Gives each connection the newest certificates, and replaces connections that are older.

    When the certificates change, new calls take new connections, and calls under way end on the old ones. Connections
    to a server whose root is not trusted any more are closed within a second.

    Args:
        certificates: of this process.
        minimum: the oldest version of TLS: "1.3" or "1.2".
        strict: whether servers that a registry tells are refused if they are called in clear text.
        by_host: whether the addresses of servers are written by the operator, as in the registry `static:`. Then a
            server may be no part of the mesh: it may also prove to be the host of its URL, by a root of the system, and
            be called in clear text.

    Attributes:
        changed: called when requests need other options than before.
    """

    def __init__(
        self, certificates: Certificates, minimum: str = "1.3", *, strict: bool = True, by_host: bool = False
    ) -> None:
        self.changed: set[Callable[[], None]] = set()
        self._certificates = certificates
        self._minimum = _VERSIONS[minimum]
        self._strict = strict
        self._by_host = by_host
        self._made: dict[Wanted, ClientContext] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}  # by whether they trust the system's roots, too
        self._generation = 0
        self._roots: frozenset[bytes] | None = None
        self._connections = WeakSet[ClientConnection]()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        certificates.changed.add(self._renew)

    def connector(self, **options: Any) -> TLSConnector:
        """Make the connector of a session. `options` are those of `aiohttp.TCPConnector`."""
        return TLSConnector(self.options, **options)

    def options(self, component: str, url: URL) -> dict[str, Any]:
        """The options of aiohttp for a request.

        Args:
            component: that the server has to prove; empty for any.
            url: of the server.

        Raises:
            ClearTextError: the server would have to be called in clear text.
        """
        if url.scheme == "http":
            if self._strict and not self._by_host:
                raise ClearTextError(
                    "http:// is clear text, and mutual_tls is strict: give that server an identity, or set "
                    'mutual_tls = "permissive" while a team migrates'
                )
            return {}
        host = url.raw_host or ""
        known = _is_domain(host)
        by_host = self._by_host or not component
        wanted = Wanted(component, host if by_host else "")
        context = self._made.get(wanted)
        if context is None:
            context = self._context(wanted, system=by_host and known)
        # Whoever stands before servers that are no mesh chooses one by its host.
        asked = host if (by_host and known) or not _can_be_asked(component) else component
        return {"ssl": context, "server_hostname": asked}

    def _context(self, wanted: Wanted, *, system: bool) -> ClientContext:
        if len(self._made) >= _MANY:
            self._made.clear()
        context = self._made[wanted] = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
        context.tls, context.wanted, context.generation = self, wanted, self._generation
        context.newest = self._contexts.get(system) or self._load(system=system)
        context.own_ends = self._certificates.all[0].ends
        return context

    def _load(self, *, system: bool) -> ssl.SSLContext:
        credentials = self._certificates.all[0]
        context = self._contexts[system] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # an IP address is no identity; see ClientConnection
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = self._minimum
        context.sslobject_class = ClientConnection
        context.load_verify_locations(cadata=credentials.roots.decode("ascii"))
        if system:
            context.load_default_certs()
        if credentials.key:
            load_credentials(context, credentials)
        return context

    def trusts(self, root: bytes) -> bool:
        """Whether a root, in DER, is one of the mesh."""
        if self._roots is None:
            pem = b"".join(each.roots for each in self._certificates.all[:1])
            self._roots = root_keys(pem)
        return root_key(root) in self._roots

    def opened(self, connection: ClientConnection) -> None:
        """Follow a connection from its handshake on."""
        if connection.generation != self._generation:  # the certificates have changed during its handshake
            connection.retire()
        self._connections.add(connection)
        if connection.ends < self._timer_at:
            self._wake_at(connection.ends)

    def _wake_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        seconds = min(max(at - time.time(), 0.0), _LONGEST_SLEEP)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._retire_expired)

    def _retire_expired(self) -> None:
        self._timer, self._timer_at = None, inf
        now = time.time()
        for connection in tuple(self._connections):
            if connection.ends <= now:
                self._connections.discard(connection)
                connection.retire()
        if ends := [connection.ends for connection in self._connections if connection.ends < inf]:
            self._wake_at(min(ends))

    def _renew(self) -> None:
        """Take over new certificates."""
        self._generation += 1
        self._made.clear()
        self._contexts.clear()
        self._roots = None
        for told in tuple(self.changed):
            told()
        loop = asyncio.get_running_loop()
        for connection in tuple(self._connections):
            connection.retire()
            if connection.root and not self.trusts(connection.root):
                loop.call_later(CUT_AFTER, _cut, connection)

    def close(self) -> None:
        """Follow the certificates no more."""
        self._certificates.changed.discard(self._renew)
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._connections):
            connection.retire()


def _cut(connection: ClientConnection) -> None:
    if connection.cut is not None:
        connection.cut()


def _is_domain(host: str) -> bool:
    """Whether a host is a name with a domain: no IP address, and no name of this machine or network only."""
    with suppress(ValueError):
        ip_address(host)
        return False
    return "." in host


def _can_be_asked(component: str) -> bool:
    """Whether the name of a component can be that of a server in TLS (SNI)."""
    try:
        return bool(component.encode("idna")) and not component.startswith(".")
    except UnicodeError:
        return False
