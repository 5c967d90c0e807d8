"""Where a client's tokens come from: a fixed text, a function, a file that is read again."""

from __future__ import annotations

import logging
import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from math import inf
from pathlib import Path

from meshcore.core.errors import Code, LocalError
from meshcore.security.tokens.renewal import Renewal
from meshcore.security.tokens.renewed import Fetched, Renewed

log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""What a bearer token consists of (RFC 6750, 2.1)."""
_OTHER = re.compile(r"[^A-Za-z0-9\-._~+/=]")
_LARGEST = 2**16
_LOOK = 1.0
"""Seconds between two looks at a file."""


def why_no_token(text: str) -> str:
    """Why a text cannot be sent as a bearer token, empty if it can. It does not show the text."""
    if not text:
        return "it is empty"
    if len(text) > _LARGEST:
        return f"it is longer than {_LARGEST} characters"
    if _TOKEN.fullmatch(text):
        return ""
    other = _OTHER.search(text)
    if other is None:
        return "it has a = that is not at its end"
    return f"its character number {other.start() + 1} is {_name(other[0])}, which no bearer token has"


def _name(character: str) -> str:
    known = {"\n": "a line end", "\r": "a line end", " ": "a space", "\t": "a tab"}
    return known.get(character, f"U+{ord(character):04X}")


class TokenSource(ABC):
    """Gives a client its token. Derive from it for a source of your own."""

    @abstractmethod
    def current(self) -> str:
        """The token if it is at hand, else empty. Called for each call."""

    @abstractmethod
    async def get(self) -> str:
        """The token. Called if there is none at hand.

        Raises:
            MeshError: it cannot be had. The text shows neither tokens nor secrets.
        """

    async def renew(self, refused: str) -> str:  # noqa: ARG002 - most sources have no other
        """Another token than one that a server has refused; empty if there is none."""
        return ""


class StaticToken(TokenSource):
    """A token that never changes.

    Args:
        token: the text. A line end or space around it is removed.

    Raises:
        ValueError: it has a character that no token has.
    """

    def __init__(self, token: str) -> None:
        self._token = token.strip()
        if reason := why_no_token(self._token):
            raise ValueError(f"the token cannot be sent: {reason}")

    def current(self) -> str:
        """The token."""
        return self._token

    async def get(self) -> str:
        """The token."""
        return self._token

    def __repr__(self) -> str:
        return "StaticToken()"


class RenewedToken(TokenSource):
    """A token that is fetched when it is first needed, and kept."""

    _renewed: Renewed[str]

    def current(self) -> str:
        """The token if there is one."""
        return self._renewed.current() or ""

    async def get(self) -> str:
        """The token, fetched if necessary."""
        return await self._renewed.get()

    async def renew(self, refused: str) -> str:
        """Fetch another token, but not again in the interval after that."""
        return await self._renewed.renew(refused) or ""


class FetchedToken(RenewedToken):
    """A token of your own function. It is kept until a server refuses it.

    Args:
        fetch: gets a new token. Its errors are those of the calls that wait for it.
    """

    def __init__(self, fetch: Callable[[], Awaitable[str]]) -> None:
        self._own = fetch
        # No pause after a failure: the function decides how often it asks.
        renewal = Renewal(random.Random(), first=0.0, longest=0.0, interval=1.0)
        self._renewed = Renewed(self._fetch, renewal, "a token")

    async def _fetch(self) -> Fetched[str]:
        token = (await self._own()).strip()
        # A text that some servers take may not be one of RFC 6750. Only what no header may have is refused.
        if not token or not token.isprintable() or not token.isascii():
            raise LocalError(Code.FAILED_PRECONDITION, f"the fetched token cannot be sent: {why_no_token(token)}")
        return Fetched(token, inf)


class TokenFile(TokenSource):
    """A token in a file that is replaced now and then, as Kubernetes does with those of service accounts.

    The file is read again when it has changed, which is looked for once per second, and at the latest after `max_age`.
    A file that cannot be read is logged; the last token that could be read stays.

    Args:
        path: of the file. A line end or space around the token is removed.
        max_age: seconds after which the file is read again, even if it seems unchanged.
        clock: monotonic seconds.
    """

    def __init__(self, path: str | Path, *, max_age: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = Path(path)
        self._max_age = max_age
        self._clock = clock
        self._token = ""
        self._problem = ""
        self._look_at = self._read_at = -inf
        self._seen: tuple[int, ...] = ()

    def current(self) -> str:
        """The token, after a look at the file if it is time."""
        now = self._clock()
        if now >= self._look_at:
            self._look(now)
        return self._token

    def _look(self, now: float) -> None:
        self._look_at = now + _LOOK
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen and now < self._read_at + self._max_age:
                return
            with self._path.open("rb") as file:
                token = file.read(_LARGEST + 1).decode("ascii").strip()
        except OSError as error:
            self._failed(error.strerror or type(error).__name__)
            return
        except UnicodeDecodeError:
            self._failed("it is not ASCII text")
            return
        if reason := why_no_token(token):
            self._failed(reason)
            return
        self._token, self._problem = token, ""
        self._seen, self._read_at = seen, now

    def _failed(self, problem: str) -> None:
        if problem != self._problem:
            more = "; the last token that was read stays" if self._token else ""
            log.warning("the token in %s cannot be used: %s%s", self._path, problem, more)
        self._problem = problem

    async def get(self) -> str:
        """The token.

        Raises:
            LocalError: FAILED_PRECONDITION, the file could not be read yet.
        """
        self._look_at = -inf
        if token := self.current():
            return token
        text = f"the token in {self._path} cannot be used: {self._problem}"
        raise LocalError(Code.FAILED_PRECONDITION, text)

    async def renew(self, refused: str) -> str:
        """What the file has now, if that is another one."""
        self._look_at = self._read_at = -inf
        return token if (token := self.current()) != refused else ""

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"
