"""The port of identity sources, which give a process its certificates.

The adapters that come with meshcore are in `meshcore.security.sources` and `meshcore.registry.consul`. Any installed
package can add adapters in the entry-point group `meshcore.identities`, by the scheme of their URL.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from math import inf
from typing import Self

import msgspec


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with its key, and the roots that are trusted. It is replaced as a whole.

    It may have roots alone (`trusting_only`), for a process that only calls others, and proves nothing to them.

    Attributes:
        identity: the SPIFFE id of the certificate (its only URI name), else its first DNS name.
        names: the components that it may stand for: the last segment of the SPIFFE id, else the first labels of its
            DNS names.
        issuer: the name of who issued it.
        begins: the start of its validity, in seconds since the epoch.
        ends: the end of its validity, likewise.
        chain: the certificate and those between it and a root, in PEM.
        key: its private key, in PEM, without a passphrase. Empty if there are roots alone.
        roots: the certificates of the roots, in PEM.
    """

    identity: str
    names: tuple[str, ...]
    issuer: str
    begins: float
    ends: float
    chain: bytes
    key: bytes
    roots: bytes

    @classmethod
    def trusting_only(cls, roots: bytes) -> Self:
        """Roots alone, without a certificate."""
        return cls(identity="", names=(), issuer="", begins=0.0, ends=inf, chain=b"", key=b"", roots=roots)

    def __repr__(self) -> str:
        """Without the key."""
        return f"Credentials({self.identity!r}, issuer={self.issuer!r}, ends={self.ends:.0f})"


class IdentityError(Exception):
    """Credentials cannot be had, or cannot be used. The text says what is wrong, where, and what mends it."""


class IdentitySource(ABC):
    """Gives the credentials of this process, and tells when they change.

    A process that serves several components may have credentials for each; which of them a client sees is decided by
    the name that it asks for (SNI). The first are those with which this process calls others.
    """

    # Each port says it anew: whoever writes an adapter reads one of them.
    @classmethod
    @abstractmethod
    def from_url(cls, url: str) -> Self:
        """Make the source of the setting `identity`. Without I/O.

        Raises:
            ValueError: the URL is invalid.
        """

    @abstractmethod
    async def open(self, names: Sequence[str]) -> tuple[Credentials, ...]:
        """Get the first credentials. Called once.

        Args:
            names: the components that this process serves, else one name by which it calls itself.

        Raises:
            IdentityError: there are none that can be used: wrong key, expired, not yet valid, unreadable.
        """

    @abstractmethod
    def changes(self) -> AsyncIterator[tuple[Credentials, ...]]:
        """Yield each new set of credentials, whole and checked. It never ends, and raises nothing.

        What cannot be used is logged, a line each time that the reason changes, and the last good set stays.
        """

    async def aclose(self) -> None:  # noqa: B027 - not every source has something to free
        """Free what it holds. Called once, when the mesh stops."""
