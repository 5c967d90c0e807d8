"""The certificates of a running mesh as the identity source of another one in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Self

from meshcore.ports.identity import Credentials, IdentitySource
from meshcore.security.certificates import Certificates


class SharedIdentity(IdentitySource):
    """Gives the credentials that the process has already.

    Args:
        certificates: of the running mesh, which outlives the other one.
    """

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    @classmethod
    def from_url(cls, url: str) -> Self:
        """It has no URL.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{url!r} does not name an identity source")

    async def open(self, names: Sequence[str]) -> tuple[Credentials, ...]:
        """The newest credentials of the running mesh, whatever the names."""
        del names
        return self._certificates.all

    async def changes(self) -> AsyncGenerator[tuple[Credentials, ...]]:
        """Each new set that the running mesh gets."""
        changed = asyncio.Event()
        self._certificates.changed.add(changed.set)
        try:
            while True:
                await changed.wait()
                changed.clear()
                yield self._certificates.all
        finally:
            self._certificates.changed.discard(changed.set)
