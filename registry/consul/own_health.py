"""A process asks its own health URL, and judges the answer as Consul's agent does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import aiohttp

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

PASSING, WARNING, CRITICAL = "passing", "warning", "critical"

_GOOD, _TOO_MANY = range(200, 300), 429
_SHOWN = 1024  # bytes of an answer


class Verdict(NamedTuple):
    """What the health URL says: one of Consul's words, and for people why, which is empty if it passes."""

    status: str
    output: str = ""


class OwnHealth:
    """Asks one URL. Used within `async with`.

    Args:
        url: which.
        timeout: seconds in which it must have answered.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._reached = False

    async def __aenter__(self) -> Self:
        # As the agent does it: a connection for each question, and whose certificate it is does not matter.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, ssl=False),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self) -> Verdict | None:
        """The verdict, within the timeout; None if the URL never led anywhere, so that nothing can be said."""
        if self._session is None:
            raise RuntimeError("OwnHealth was not entered")
        try:
            async with self._session.get(self._url) as answer:
                self._reached = True
                text = (await answer.content.read(_SHOWN)).decode(errors="replace")
                status = answer.status
        except aiohttp.ClientConnectorError as error:
            return Verdict(CRITICAL, str(error)) if self._reached else None
        except TimeoutError:
            return Verdict(CRITICAL, f"{self._url} does not answer within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Verdict(CRITICAL, f"{self._url}: {str(error) or type(error).__name__}")
        if status in _GOOD:
            return Verdict(PASSING)
        return Verdict(WARNING if status == _TOO_MANY else CRITICAL, f"{self._url}: {status} {text}")
