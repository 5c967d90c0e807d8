"""`dev:`: certificates of an authority for development, which all processes of one user share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from meshcore.core.masking import without_secrets
from meshcore.ports.identity import Credentials, IdentityError, IdentitySource
from meshcore.security.sources.dev_authority import DevAuthority
from meshcore.security.sources.dev_certificates import LIFETIME
from meshcore.security.sources.reasons import Reasons

_INTERVAL: Final = 2.0
"""Seconds between two looks whether there is another authority, since somebody removed the one of before."""


class DevIdentitySource(IdentitySource):
    """Makes a certificate for each component, and renews it after half of its life.

    Args:
        folder: of the authority. None for that of this user: see `DevAuthority`.
        interval: seconds between two looks at the authority.
        clock: the time, in seconds since the epoch.
    """

    def __init__(
        self, folder: Path | None = None, *, interval: float = _INTERVAL, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._interval = interval
        self._clock = clock
        self._names: tuple[str, ...] = ()
        self._authority = b""  # with which the last certificates were made
        self._renew_at = 0.0
        self._reasons = Reasons()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make the source from `dev:`, or from `dev:/path` for another folder."""
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.netloc or parts.query or parts.fragment or (path and not Path(path).is_absolute()) or "%00" in url:
            text = "dev: takes the absolute path of a folder, as in dev:/path, or nothing"
            raise ValueError(f"{text}; got {without_secrets(url)!r}")
        return cls(Path(path) if path else None)

    async def open(self, names: Sequence[str]) -> tuple[Credentials, ...]:
        """Make the first certificates, and the authority if there is none."""
        self._names = tuple(names)
        found = await asyncio.to_thread(self._renew)
        return found or ()

    async def changes(self) -> AsyncIterator[tuple[Credentials, ...]]:
        """Yield new certificates well before the old ones end, and when the authority is another one."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                found = await asyncio.to_thread(self._renew)
            except IdentityError as error:
                self._reasons.tell(str(error))
                continue
            self._reasons.tell("")
            if found is not None:
                yield found

    def _renew(self) -> tuple[Credentials, ...] | None:
        """New certificates. None if those of before are as good."""
        authority = DevAuthority(self._folder)
        read, now = authority.read(), self._clock()
        if read == self._authority and now < self._renew_at:
            return None
        made = tuple(authority.issue(read, name, now=now) for name in self._names)
        self._authority, self._renew_at = read, now + LIFETIME / 2
        return made
