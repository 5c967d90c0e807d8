"""Asks the health URL of this process, and rates the answer as Consul's agent does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import aiohttp

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

PASSING, WARNING, CRITICAL = "passing", "warning", "critical"

_SUCCESS, _TOO_MANY = range(200, 300), 429
_MAX_OUTPUT = 1024  # bytes of an answer


class CheckResult(NamedTuple):
    """The result of a health check.

    Attributes:
        status: "passing", "warning" or "critical".
        output: why, for people; empty if it passes.
    """

    status: str
    output: str = ""


class HealthProbe:
    """Asks one URL. Use it within `async with`.

    Args:
        url: the URL.
        timeout: seconds for an answer.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._reached = False

    async def __aenter__(self) -> Self:
        # As the agent does it: a new connection for each request, and no check of the certificate.
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

    async def ask(self) -> CheckResult | None:
        """Ask once. Returns None if no connection to the URL was ever made: then nothing is known about the health."""
        if self._session is None:
            raise RuntimeError("HealthProbe is not entered")
        try:
            async with self._session.get(self._url) as answer:
                self._reached = True
                text = (await answer.content.read(_MAX_OUTPUT)).decode(errors="replace")
                status = answer.status
        except aiohttp.ClientConnectorError as error:
            return CheckResult(CRITICAL, str(error)) if self._reached else None
        except TimeoutError:
            return CheckResult(CRITICAL, f"{self._url} does not answer within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return CheckResult(CRITICAL, f"{self._url}: {str(error) or type(error).__name__}")
        if status in _SUCCESS:
            return CheckResult(PASSING)
        return CheckResult(WARNING if status == _TOO_MANY else CRITICAL, f"{self._url}: {status} {text}")
