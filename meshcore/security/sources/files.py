"""`files:`: certificates that something else writes into files, such as cert-manager, spiffe-helper or an operator."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from meshcore.core.masking import without_secrets
from meshcore.core.suggest import did_you_mean
from meshcore.ports.identity import Credentials, IdentityError, IdentitySource
from meshcore.security.credentials import MAX_BYTES, Source, read_credentials, read_roots
from meshcore.security.sources.folder_events import FolderEvents
from meshcore.security.sources.reasons import Reasons

_T = TypeVar("_T")


class Names(NamedTuple):
    """The files of a set. They are relative to the folder, unless they are absolute.

    Attributes:
        cert: the certificate, then those between it and a root.
        key: its private key.
        roots: the roots that are trusted.
    """

    cert: str
    key: str
    roots: str


KNOWN: Final = (
    Names("tls.crt", "tls.key", "ca.crt"),  # secrets of Kubernetes, cert-manager
    Names("svid.pem", "svid_key.pem", "svid_bundle.pem"),  # spiffe-helper
)

_INTERVAL: Final = 1.0
"""Seconds between two looks at the files, if no event tells of a change."""
_SETTLED: Final = 0.3
"""Seconds after which files that do not fit each other at the start are read once more: they may just be replaced."""
_FORM: Final = "as in files:/path, or files:/path?cert=tls.crt&key=tls.key&roots=ca.crt"


class FilesIdentitySource(IdentitySource):
    """Reads three files, and follows their changes: by file events, and every second.

    A set is taken over as a whole. While its files do not fit each other, or cannot be used, the last good set stays.
    Without a certificate and a key, the roots alone count. A process that has had a certificate keeps it.

    Args:
        folder: of the files.
        names: of the files. None: those of `KNOWN` that are there.
        roots_alone: whether the roots are enough.
        interval: seconds between two looks, if no event tells of a change.
        clock: the time, in seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        names: Names | None = None,
        *,
        roots_alone: bool = True,
        interval: float = _INTERVAL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._names = names
        self._roots_alone = roots_alone
        self._clock = clock
        folders = {folder, *((folder / name).parent for name in names or ())}
        self._events = FolderEvents(folders, interval)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"meshcore identity {folder}")
        self._read: tuple[Source, ...] = ()  # the last files that were read
        self._usable = False  # whether they were
        self._given: Credentials | None = None
        self._reasons = Reasons()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make the source from `files:/path`, with the names of the files in the query if they are not usual ones."""
        parts = urlsplit(url)
        path = Path(unquote(parts.path))
        shown = without_secrets(url)
        if parts.netloc or parts.fragment or not path.is_absolute() or "%00" in url:
            raise ValueError(f"files: takes the absolute path of a folder, {_FORM}; got {shown!r}")
        given: dict[str, str] = {}
        for name, text in parse_qsl(parts.query, keep_blank_values=True):
            if name not in Names._fields:
                raise ValueError(f"files: has no parameter {name!r}{did_you_mean(name, Names._fields)}; got {shown!r}")
            if not text or name in given:
                raise ValueError(f"files: takes one name of a file for {name!r}, {_FORM}; got {shown!r}")
            given[name] = text
        return cls(path, KNOWN[0]._replace(**given) if given else None, roots_alone=not {"cert", "key"} & given.keys())

    async def open(self, names: Sequence[str]) -> tuple[Credentials, ...]:  # noqa: ARG002 - there is one set for all
        """Read the files."""
        try:
            found = await self._in_thread(self._load)
        except IdentityError:
            await asyncio.sleep(_SETTLED)
            found = await self._in_thread(self._load)
        self._given = found
        return (found,)

    async def changes(self) -> AsyncIterator[tuple[Credentials, ...]]:
        """Yield each new set that can be used."""
        while True:
            try:
                found = await self._in_thread(self._next)
            except IdentityError as error:
                self._reasons.tell(str(error))
                continue
            self._reasons.tell("")
            if found is not None and found != self._given:
                self._given = found
                yield (found,)

    async def aclose(self) -> None:
        """Stop to follow the files."""
        self._events.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    # The methods below run in the thread.

    def _next(self) -> Credentials | None:
        """Wait until something may have changed, and read. None if nothing has."""
        self._events.wait()
        read = self._sources()
        return None if self._usable and read == self._read else self._check(read)

    def _load(self) -> Credentials:
        return self._check(self._sources())

    def _check(self, read: tuple[Source, ...]) -> Credentials:
        self._read, self._usable = read, False
        if len(read) == 1:
            found = read_roots(read[0], now=self._clock())
        else:
            chain, key, roots = read
            found = read_credentials(chain, key, roots, now=self._clock())
            self._roots_alone = False
        self._usable = True
        return found

    def _sources(self) -> tuple[Source, ...]:
        names = self._names or self._found()
        own: tuple[str, ...] = (names.cert, names.key)
        if self._roots_alone and self._folder.is_dir() and not any(map(self._is_there, own)):
            own = ()
        return tuple(_read(self._folder / name) for name in (*own, names.roots))

    def _is_there(self, name: str) -> bool:
        """Whether there is a file, though it may not be readable."""
        try:
            (self._folder / name).lstat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def _found(self) -> Names:
        """The known names of which the folder has most files."""
        try:
            there = {each.name for each in self._folder.iterdir()}
        except OSError as error:
            raise IdentityError(f"{self._folder}: the folder cannot be read: {error.strerror}") from None
        names = max(KNOWN, key=lambda names: len(there.intersection(names)))
        if there.intersection(names):
            return names
        known = " or ".join("/".join(names) for names in KNOWN)
        raise IdentityError(f"{self._folder}: there is no {known}; if the files have other names, name them, {_FORM}")


def _read(path: Path) -> Source:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its writer
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise IdentityError(f"{path}: it is not a file")
            return Source(file.read(MAX_BYTES + 1), str(path))
    except OSError as error:
        raise IdentityError(f"{path}: it cannot be read: {error.strerror}") from None
