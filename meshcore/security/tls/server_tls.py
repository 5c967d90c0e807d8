"""TLS of a server: contexts of the newest certificates, and the connections that were made with them."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable
from math import inf
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from meshcore.ports.identity import Credentials
from meshcore.security.certificates import Certificates
from meshcore.security.log_limit import LogLimit
from meshcore.security.tls.load_credentials import load_credentials
from meshcore.security.tls.root_keys import root_key, root_keys
from meshcore.security.tls.served_connection import ServedConnection
from meshcore.security.tls.server_objects import ServerSSLObject

log = logging.getLogger(__name__)

ALPN: Final = ("h2", "http/1.1")
HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds that a client has for its handshake."""

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2, as hypercorn has them; those of 1.3 are all good
_MINIMUM: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_SPREAD: Final = 5.0
"""Seconds over which clients are asked for new connections after the own certificate was replaced. All at once would be
a burst of handshakes."""
_CUT_AFTER: Final = 0.5
"""Seconds that calls may take to end on a connection whose root is not trusted any more. Then it is closed."""
_LONGEST_PAUSE: Final = 60.0
_GRACE: Final = 30.0
"""Seconds after which a connection is closed whose client's certificate has expired, and which the client still uses
although it was asked for another one."""

_REASONS: Final = {
    "ALERT_UNKNOWN_CA": "the client does not trust the issuer of this server's certificate",
    "ALERT_BAD_CERTIFICATE": "the client refuses this server's certificate",
    "ALERT_CERTIFICATE_UNKNOWN": "the client refuses this server's certificate",
    "ALERT_CERTIFICATE_EXPIRED": "for the client, this server's certificate has expired",
    "UNSUPPORTED_PROTOCOL": "the client speaks only an older version of TLS (setting tls_minimum)",
    "NO_SHARED_CIPHER": "the client and this server have no cipher in common",
}


class ServerTLS:
    """Makes the TLS connections of a server with the newest certificates, and ends those that are not good any more.

    New certificates and roots count from the next connection on. If a root is removed, the connections of its clients
    are closed within a second. Clients whose certificate expires, and those that have seen an own certificate that was
    replaced, are asked for new connections: see `ServedConnection.leave`.

    Args:
        certificates: of this process; started.
        minimum: the oldest version of TLS, "1.2" or "1.3".
        clock: the time, in seconds since the epoch.
    """

    def __init__(
        self, certificates: Certificates, *, minimum: str = "1.3", clock: Callable[[], float] = time.time
    ) -> None:
        self._certificates = certificates
        self._minimum = _MINIMUM[minimum]
        self._clock = clock
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._default: ssl.SSLContext | None = None
        self._roots: frozenset[bytes] = frozenset()
        self._own_ends = inf
        self._open: WeakKeyDictionary[ServerSSLObject, ServedConnection] = WeakKeyDictionary()
        self._failures = LogLimit()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf  # a handle of uvloop that is due at once does not say when

    def start(self) -> None:
        """Make the contexts, and follow the certificates from then on. Called in the event loop that serves.

        Raises:
            ssl.SSLError: the certificates cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        self._make_contexts()
        self._certificates.changed.add(self._renew)
        self._look()

    def close(self) -> None:
        """Stop following."""
        self._certificates.changed.discard(self._renew)
        if self._timer is not None:
            self._timer.cancel()

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """The server's side of a new connection."""
        if self._default is None:
            raise RuntimeError("start() makes the contexts")
        made: Any = self._default.wrap_bio(incoming, outgoing, server_side=True)
        made.tls, made.incoming, made.outgoing = self, incoming, outgoing
        return cast("ssl.SSLObject", made)

    def opened(self, made: ServerSSLObject, connection: ServedConnection) -> None:
        """Keep a connection in mind, until it is freed.

        Args:
            made: its object.
            connection: what is known of it.
        """
        if not connection.clear:
            connection.renewed_by = min(connection.renewed_by, self._own_ends)
            self._open[made] = connection
            self._plan(connection.renewed_by)

    def failed(self, error: Exception, shown: str) -> None:
        """Log why a handshake has failed: each reason now and then.

        Args:
            error: what was raised.
            shown: what the client's certificate says, empty if it has shown none.
        """
        reason = _reason(error)
        text = f"{reason}; it has shown {shown}" if shown else reason
        if (more := self._failures.admit(text)) is not None:
            log.warning("a TLS handshake failed: %s%s", text, f" ({more} more like this)" if more else "")

    def _make_contexts(self) -> None:
        credentials = self._certificates.all
        roots = b"\n".join(dict.fromkeys(each.roots for each in credentials))
        contexts = [self._make_context(each, roots) for each in credentials]
        names: dict[str, ssl.SSLContext] = {}
        for each, context in zip(credentials, contexts, strict=True):
            for name in each.names:
                names.setdefault(name.lower(), context)
        for context in contexts:
            context.sni_callback = _chosen_of(names)
        self._contexts, self._default = names, contexts[0]
        self._roots = root_keys(roots)
        self._own_ends = min(each.ends for each in credentials)

    def _make_context(self, credentials: Credentials, roots: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = ServerSSLObject
        context.minimum_version = self._minimum
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols(ALPN)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.num_tickets = 0  # a resumed connection would keep a client whose certificate is not good any more
        context.verify_mode = ssl.CERT_OPTIONAL  # who has none is refused by the application, which answers probes
        load_credentials(context, credentials)
        context.load_verify_locations(cadata=roots.decode("ascii"))
        return context

    def _renew(self) -> None:
        """Take over new certificates."""
        try:
            self._make_contexts()
        except (ssl.SSLError, ValueError) as error:
            log.error("new certificates cannot be used, so the last ones stay: %s", error)  # noqa: TRY400 - not our bug
            return
        now = self._clock()
        for connection in tuple(self._open.values()):
            # Not at once: a client that has just opened one would take the server for one that stops.
            pause = random.uniform(_SPREAD / 5, _SPREAD) if self._trusts(connection) else 0.0
            connection.renewed_by = min(connection.renewed_by, now + pause)
        self._look()
        if self._loop is not None:
            self._loop.call_later(_CUT_AFTER, self._cut_untrusted)

    def _trusts(self, connection: ServedConnection) -> bool:
        return not connection.root or root_key(connection.root) in self._roots

    def _cut_untrusted(self) -> None:
        for made, connection in tuple(self._open.items()):
            if not self._trusts(connection):
                self._end(made, connection, "its issuer is not trusted any more")

    def _end(self, made: ServerSSLObject, connection: ServedConnection, why: str) -> None:
        log.info("closed a connection of %s: %s", connection.caller.identity or "a client", why)
        self._open.pop(made, None)
        made.refuse()
        if connection.cut is not None:
            connection.cut()

    def _plan(self, at: float) -> None:
        """Look after connections at that time, or before."""
        if self._loop is None:
            return
        pause = max(0.0, min(at - self._clock(), _LONGEST_PAUSE))
        due = self._loop.time() + pause
        if self._timer is None or due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_at = self._loop.call_later(pause, self._look), due

    def _look(self) -> None:
        """Ask the clients of connections whose time has come for new ones."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, next_at = self._clock(), inf
        for made, connection in tuple(self._open.items()):
            if connection.ends + _GRACE <= now:
                self._end(made, connection, "its certificate has expired")
            elif connection.renewed_by <= now:
                connection.leave()
                next_at = min(next_at, connection.ends + _GRACE)
            else:
                next_at = min(next_at, connection.renewed_by)
        self._plan(next_at)


class ServerContext(ssl.SSLContext):
    """What an ASGI server takes for its context. It leaves each connection to the TLS of the mesh.

    asyncio and uvloop call `wrap_bio` for each connection, so nothing has to be told to the server when certificates
    change.
    """

    find: Callable[[], ServerTLS | None]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature of ssl
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """The server's side of a new connection. As long as the mesh does not run, its handshake fails."""
        tls = self.find()
        if tls is None or not server_side:
            return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        return tls.wrap(incoming, outgoing)


def server_context(find: Callable[[], ServerTLS | None]) -> ServerContext:
    """The context for an ASGI server.

    Args:
        find: the TLS of the mesh that the server serves, None as long as it does not run.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.find = find
    return context


def _chosen_of(contexts: dict[str, ssl.SSLContext]) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """Chooses the certificate by the name that the client asks for. An unknown name gets the first one."""

    def choose(connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:  # noqa: ARG001
        if name is not None and (found := contexts.get(name.lower())) is not None:
            connection.context = found

    return choose


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate is refused: {error.verify_message}"
    if not isinstance(error, ssl.SSLError):
        return f"the client's certificate is refused: {error}"
    reason = error.reason or ""
    return next((text for part, text in _REASONS.items() if part in reason), reason.lower().replace("_", " ") or "?")
