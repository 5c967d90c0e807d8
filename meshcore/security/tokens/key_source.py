"""Where the keys come from that tokens are verified with: a JWKS endpoint or a file, read again ahead of their end."""

from __future__ import annotations

import random
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from meshcore.security.tokens.endpoint import EndpointError, ask, check_endpoint, refused
from meshcore.security.tokens.keys import LARGEST_DOCUMENT, Keys, KeysError
from meshcore.security.tokens.renewal import Renewal
from meshcore.security.tokens.renewed import Fetched, Renewed

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})")
_USUAL_AGE = 300.0
"""Seconds for which keys are good if the endpoint does not say."""
_AGES = (60.0, 3600.0)
"""Seconds between which the endpoint may choose."""
_FILE_AGE = 5.0
"""Seconds after which a file is read again."""


class KeySource:
    """The newest keys. They are fetched when they are first needed, and again ahead of their end.

    Args:
        jwks: the URL of a JWKS endpoint, or the path of a file with such a document.
        algorithms: those that tokens may have.
        max_stale: seconds for which keys are used beyond their end, while no others can be had.
        interval: seconds between two fetches for the sake of a key that is not known.
        tls: trusts other roots than those of this machine.
        clock: monotonic seconds.

    Raises:
        ValueError: the URL is invalid, or not https.
    """

    def __init__(
        self,
        jwks: str | Path,
        algorithms: frozenset[str],
        *,
        max_stale: float,
        interval: float,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._algorithms = algorithms
        self._max_stale = max_stale
        self._tls = tls
        renewal = Renewal(random.Random(), interval=interval)
        if isinstance(jwks, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", jwks):
            self._url = check_endpoint(jwks, "jwks")
            what = f"keys from {self._url.with_query(None)}"
            self._renewed: Renewed[Keys] = Renewed(self._fetch, renewal, what, clock)
        else:
            self._path = Path(jwks)
            self._renewed = Renewed(self._read, renewal, f"keys from {self._path}", clock)

    def current(self) -> Keys | None:
        """The keys if there are some; it lets newer ones be fetched if it is time."""
        return self._renewed.current()

    async def get(self) -> Keys:
        """The keys, fetched if necessary.

        Raises:
            MeshError: they cannot be had.
        """
        return await self._renewed.get()

    async def renew(self, known: Keys) -> Keys | None:
        """Other keys than those. None if there are none, or if they were asked for shortly before."""
        return await self._renewed.renew(known)

    async def aclose(self) -> None:
        """Stop a fetch that runs."""
        await self._renewed.aclose()

    async def _fetch(self) -> Fetched[Keys]:
        answer = await ask(self._url, limit=LARGEST_DOCUMENT, tls=self._tls)
        if (error := refused(self._url, answer)) is not None:
            raise error
        found = _MAX_AGE.search(answer.cache_control.lower())
        age = min(max(float(found[1]), _AGES[0]), _AGES[1]) if found else _USUAL_AGE
        return Fetched(self._made(answer.body), age, self._max_stale)

    async def _read(self) -> Fetched[Keys]:
        try:
            document = _read_document(self._path)
        except OSError as error:
            raise EndpointError(error.strerror or type(error).__name__, transient=False) from None
        return Fetched(self._made(document), _FILE_AGE, self._max_stale)

    def _made(self, document: bytes) -> Keys:
        """The keys of a document; the same object as before if nothing has changed."""
        before = self._renewed.last
        if before is not None and before.document == document:
            return before
        try:
            return Keys(document, self._algorithms)
        except KeysError as error:
            raise EndpointError(f"its document cannot be used: {error}", transient=False) from None


def _read_document(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_DOCUMENT + 1)
