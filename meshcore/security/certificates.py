"""The certificates of this process: the newest ones, and who is told of newer ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from meshcore.ports.identity import Credentials, IdentitySource

log = logging.getLogger(__name__)


class Certificates:
    """Holds what an identity source gives, and replaces it as a whole.

    TLS contexts read `all` for each new connection. So new certificates and roots count from the next one on.

    Args:
        source: gives the credentials.
        names: the components that this process serves, else one name by which it calls itself.

    Attributes:
        all: the newest credentials. The first are those with which this process calls others.
        changed: called after they were replaced.
    """

    def __init__(self, source: IdentitySource, names: Sequence[str]) -> None:
        self.all: tuple[Credentials, ...] = ()
        self.changed: set[Callable[[], None]] = set()
        self._source = source
        self._names = tuple(names)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Get the first credentials, and follow their changes from then on.

        Raises:
            IdentityError: there are none that can be used.
        """
        self.all = await self._source.open(self._names)
        self._watching = asyncio.create_task(self._watch(), name="meshcore.security.certificates")

    async def _watch(self) -> None:
        async for credentials in self._source.changes():
            self.all = credentials
            log.info("took over new certificates: %s", ", ".join(each.identity for each in credentials))
            for told in tuple(self.changed):
                told()

    async def aclose(self) -> None:
        """Stop following, and close the source."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._source.aclose()
