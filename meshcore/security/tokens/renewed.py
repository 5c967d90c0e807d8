"""Something that expires, such as a token or keys, which is fetched again ahead of that."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import msgspec

from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.security.tokens.endpoint import EndpointError
from meshcore.security.tokens.renewal import Renewal

T = TypeVar("T")

log = logging.getLogger(__name__)


class Fetched(msgspec.Struct, Generic[T], frozen=True):
    """What was fetched.

    Attributes:
        value: it.
        life: seconds until it should be replaced.
        grace: seconds for which it may be used after that, while it cannot be replaced.
    """

    value: T
    life: float
    grace: float = 0.0


class Renewed(Generic[T]):
    """Fetches something when it is first needed, and again ahead of its end, once for all who ask.

    It fetches in a task of its own. So a caller that leaves does not stop it, and a value that is still good is used
    meanwhile. A fetch ends by itself: `fetch` bounds its time.

    Args:
        fetch: gets it, in a bounded time.
        renewal: decides when.
        what: how it is called in the log.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Fetched[T]]],
        renewal: Renewal,
        what: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._renewal = renewal
        self._what = what
        self._clock = clock
        self._value: T | None = None
        self._failure: Exception | None = None
        self._told = ""
        self._fetching: asyncio.Task[None] | None = None

    @property
    def last(self) -> T | None:
        """What was fetched last, whether it may be used or not."""
        return self._value

    def current(self) -> T | None:
        """What is there and good; None if there is nothing. It starts a fetch if one is due."""
        now = self._clock()
        if self._fetching is None and self._renewal.is_due(now):
            self._start()
        return self._value if self._renewal.is_usable(now) else None

    async def get(self) -> T:
        """What is good, fetched if necessary.

        Raises:
            CommunicationError: UNAVAILABLE, the endpoint cannot be reached, or answers with an error of its own.
            LocalError: FAILED_PRECONDITION, the endpoint refuses, or what it gives cannot be used.
        """
        found = self.current()
        if found is not None:
            return found
        await self._fetched()
        if self._value is not None and self._renewal.is_usable(self._clock()):
            return self._value
        raise self._error()

    async def renew(self, refused: T) -> T | None:
        """Another one than one that was refused. None if it cannot be had, or was asked for shortly before."""
        if self._value is not None and self._value != refused:
            return self.current()
        if self._fetching is None:
            if not self._renewal.ask(self._clock()):
                return None
            self._start()
        await self._fetched()
        return self._value if self._value != refused and self._renewal.is_usable(self._clock()) else None

    def _start(self) -> None:
        # In an empty context: it belongs to no call, so neither the deadline nor the trace of one apply.
        self._fetching = asyncio.get_running_loop().create_task(
            self._run(), name="meshcore.security.tokens", context=contextvars.Context()
        )

    async def _fetched(self) -> None:
        """Wait for the fetch that runs. A caller that is cancelled meanwhile does not stop it."""
        if self._fetching is not None:
            await asyncio.wait([self._fetching])

    async def _run(self) -> None:
        try:
            fetched = await self._fetch()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the same for all who wait
            now = self._clock()
            self._renewal.failed(now)
            if (told := _told(error)) != self._told:
                left = self._renewal.usable_for(now)
                more = f"; the old one may be used for {left:.0f} s" if left else ""
                log.warning("cannot get %s: %s%s", self._what, told, more)
            self._failure, self._told = error, told
        else:
            if self._failure is not None:
                log.info("got %s again", self._what)
            self._value, self._failure, self._told = fetched.value, None, ""
            self._renewal.succeeded(self._clock(), fetched.life, fetched.grace)
        finally:
            self._fetching = None

    def _error(self) -> Exception:
        failure = self._failure
        if isinstance(failure, EndpointError):
            text = f"cannot get {self._what}: {failure}"
            if failure.transient:
                return CommunicationError(Code.UNAVAILABLE, text, processed=False)
            return LocalError(Code.FAILED_PRECONDITION, text)
        if failure is None:
            return LocalError(Code.FAILED_PRECONDITION, f"cannot use {self._what}: it has expired when it arrives")
        return failure

    async def aclose(self) -> None:
        """Stop a fetch that runs."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])


def _told(error: Exception) -> str:
    """What the log says of an error. The text of one that is not ours may have anything in it."""
    return str(error) if isinstance(error, EndpointError | LocalError) else type(error).__name__
