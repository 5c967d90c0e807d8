"""Identities whose certificates tests replace, for a client and for a server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import msgspec

from meshcore.ports.identity import Credentials, IdentitySource
from meshcore.security.tls.load_credentials import load_credentials


class PushedIdentity(IdentitySource):
    """Gives the credentials that a test pushes."""

    def __init__(self, *credentials: Credentials) -> None:
        self._newest = credentials
        self._pushed = asyncio.Queue[tuple[Credentials, ...]]()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """It has no URL."""
        raise ValueError(url)

    async def open(self, names: Sequence[str]) -> tuple[Credentials, ...]:
        """The newest ones."""
        del names
        return self._newest

    async def changes(self) -> AsyncIterator[tuple[Credentials, ...]]:
        """Those that are pushed."""
        while True:
            yield await self._pushed.get()

    def push(self, *credentials: Credentials) -> None:
        """Replace them."""
        self._pushed.put_nowait(credentials)


class RotatingContext(ssl.SSLContext):
    """The context of a server that requires certificates, which are replaced for new connections."""

    newest: ssl.SSLContext

    def take(self, credentials: Credentials) -> None:
        """Use these credentials for each connection from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0
        context.load_verify_locations(cadata=credentials.roots.decode())
        load_credentials(context, credentials)
        self.newest = context

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Make a connection."""
        return self.newest.wrap_bio(*args, **options)


def rotating(credentials: Credentials) -> RotatingContext:
    """A server's context."""
    made = RotatingContext(ssl.PROTOCOL_TLS_SERVER)
    made.take(credentials)
    return made


def trusting(credentials: Credentials, *roots: bytes) -> Credentials:
    """The same with other roots."""
    return msgspec.structs.replace(credentials, roots=b"".join(roots))
