"""The certificates of this process: the newest ones, and who is told of newer ones."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence

from meshcore.ports.identity import Credentials, IdentityError, IdentitySource
from meshcore.security.expiry import ExpiryWarnings

log = logging.getLogger(__name__)

_LOOK = 30.0
"""Seconds between two looks at how much of its life a certificate has left."""
_LOOKS = 100
"""Looks in the life of a certificate that lives so shortly that they would be fewer."""
_PAUSE = 5.0
"""Seconds until a source is followed again that has failed."""


def unproven(served: Collection[str], credentials: Sequence[Credentials]) -> list[str]:
    """What to warn of: the components that a process serves, and for which none of its certificates stands.

    Args:
        served: the components.
        credentials: of the process.
    """
    if served and not any(each.key for each in credentials):
        return [f"this process has roots alone and no certificate, so it cannot be a server of {', '.join(served)}"]
    names = list(dict.fromkeys(name for each in credentials for name in each.names))
    has = f"its certificates stand for {', '.join(names)}"
    return [
        f"no certificate of this process stands for component {name}, so clients of the mesh refuse it; {has}"
        for name in served
        if name not in names
    ]


class Certificates:
    """Holds what an identity source gives, and replaces it as a whole.

    TLS contexts read `all` for each new connection. So new certificates and roots count from the next one on. If a
    certificate is not renewed, the log says so: see `ExpiryWarnings`.

    Args:
        source: gives the credentials.
        names: the components that this process serves, else one name by which it calls itself.
        clock: the time, in seconds since the epoch.

    Attributes:
        all: the newest credentials. The first are those with which this process calls others.
        changed: called after they were replaced.
    """

    def __init__(self, source: IdentitySource, names: Sequence[str], *, clock: Callable[[], float] = time.time) -> None:
        self.all: tuple[Credentials, ...] = ()
        self.changed: set[Callable[[], None]] = set()
        self._source = source
        self._names = tuple(names)
        self._clock = clock
        self._expiry = ExpiryWarnings()
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def ends(self) -> float | None:
        """When the first of them expires, in seconds since the epoch; None if there are roots alone."""
        return min((each.ends for each in self.all if each.key), default=None)

    async def start(self) -> None:
        """Get the first credentials, and follow their changes from then on.

        Raises:
            IdentityError: there are none that can be used.
        """
        self.all = await self._source.open(self._names)
        if not self.all:
            raise IdentityError(f"{self._source!r} has no certificate for {', '.join(self._names)}")
        for each in self.all:
            if each.key:
                log.info("this process is %s, by a certificate of %s", each.identity, each.issuer)
            else:
                log.info("this process has no certificate, and trusts the roots of its identity")
        self._look()
        self._watching = asyncio.create_task(self._watch(), name="meshcore.security.certificates")

    async def _watch(self) -> None:
        while True:
            try:
                async for credentials in self._source.changes():
                    self._replace(credentials)
            except Exception:  # a source raises nothing; if it does, renewals must go on
                log.exception("the source of certificates has failed; it is followed again in %g s", _PAUSE)
            await asyncio.sleep(_PAUSE)

    def _replace(self, credentials: tuple[Credentials, ...]) -> None:
        self.all = credentials
        log.info("took over new certificates: %s", ", ".join(each.identity or "roots" for each in credentials))
        for told in tuple(self.changed):
            try:
                told()
            except Exception:
                log.exception("new certificates were not taken over everywhere")

    def _look(self) -> None:
        """Warn of what ends soon, and plan the next look."""
        for text in self._expiry.look(self.all, self._clock()):
            log.warning("%s", text)
        shortest = min(each.ends - each.begins for each in self.all)
        self._timer = asyncio.get_running_loop().call_later(min(_LOOK, max(shortest / _LOOKS, 0.1)), self._look)

    async def aclose(self) -> None:
        """Stop following, and close the source."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._source.aclose()
