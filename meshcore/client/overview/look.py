"""Asks a registry for all instances, and their processes for their summaries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from meshcore.client.contract_fetch import StatusError, fetch_document
from meshcore.client.no_answer import why_no_answer
from meshcore.core.errors import CommunicationError
from meshcore.core.instances import Instance
from meshcore.core.masking import without_secrets
from meshcore.ports.registry import ComponentRegistry
from meshcore.telemetry.overview.overview import Look, servers_of
from meshcore.telemetry.summary import Summary
from meshcore.wire.endpoints import REPORT, SUMMARY

_TIMEOUT = 1.0
"""Seconds for an answer. Who needs longer is shown as one that does not answer."""

_CONCURRENCY = 50
"""Processes that are asked at the same time."""

_HEALTH = 5.0
"""Seconds between two questions for the health of a process. Checks of health may cost it something."""

_MAX_BODY = 8 << 20
"""Bytes of the largest answer that is read: the summary of 500 methods with 4 callers each takes 1 MB."""

_MOST_PROBLEMS = 5
"""Servers that are named whose summary cannot be used."""

_LONGEST_STATUS = 40
"""Characters of the status of a health check that are kept."""
_BEFORE = "; these are the instances that it had before"


class _Component(msgspec.Struct):
    name: str
    health: dict[str, Any] = {}


class _Report(msgspec.Struct):
    components: list[_Component] = []


class _Summaries(msgspec.Struct):
    processes: list[Summary]


_reports = msgspec.json.Decoder(_Report)
_summaries = msgspec.json.Decoder(_Summaries)


class Looker:
    """Looks at a mesh. It remembers what it last read, for questions that fail or are not asked each time.

    Args:
        registry: where the instances are; it is entered.
        session: for the questions.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        registry: ComponentRegistry,
        session: aiohttp.ClientSession,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._session = session
        self._clock = clock
        self._announced: Mapping[str, Sequence[Instance]] = {}
        self._health: dict[tuple[str, str], str] = {}
        self._asked: dict[str, float] = {}  # when a server was asked for its health, by URL
        self._problems: list[str] = []
        self._slots = asyncio.Semaphore(_CONCURRENCY)

    async def look(self, *, history: bool = False) -> Look:
        """Look at all of it. Raises nothing that a broken registry or server could cause: the result says it.

        Args:
            history: whether servers are asked for their last 15 minutes, which takes three times as long.
        """
        problems = self._problems = []
        try:
            self._announced = await self._registry.instances()
        except CommunicationError as error:
            problems.append(f"The registry cannot be read{_BEFORE if self._announced else ''}: {error}.")
        servers = servers_of(self._announced)
        urls = sorted(servers)
        summaries: dict[str, Sequence[Summary]] = {}
        errors: dict[str, str] = {}
        answers = await asyncio.gather(
            *(self._ask(url, servers[url], SUMMARY if history else f"{SUMMARY}?history=no") for url in urls)
        )
        for url, answer in zip(urls, answers, strict=True):
            if isinstance(answer, str):
                errors[url] = answer
            else:
                summaries[url] = answer
        if len(problems) > _MOST_PROBLEMS:
            problems[_MOST_PROBLEMS:] = [f"More such problems: {len(problems) - _MOST_PROBLEMS}."]
        self._asked = {url: at for url, at in self._asked.items() if url in summaries}
        self._health = {key: status for key, status in self._health.items() if key[0] in summaries}
        return Look(
            at=time.time(),
            clock=self._clock(),
            announced=self._announced,
            summaries=summaries,
            errors=errors,
            health=dict(self._health),
            problems=problems,
        )

    async def _ask(self, url: str, component: str, what: str) -> list[Summary] | str:
        """The summaries of a server's processes, none if it cannot tell; why it does not answer."""
        async with self._slots:
            try:
                if self._clock() - self._asked.get(url, float("-inf")) >= _HEALTH:
                    self._asked[url] = self._clock()
                    await self._read_health(url, component)
                data = await fetch_document(self._session, url + what, _MAX_BODY, _TIMEOUT, component=component)
                return _summaries.decode(data).processes
            except StatusError:
                return []  # an older release, or another program
            except (aiohttp.ClientError, TimeoutError) as error:
                return why_no_answer(error)
            except ValueError as error:  # errors of msgspec are such, too
                self._problems.append(f"{without_secrets(url)}{SUMMARY} cannot be used: {error}.")
                return []

    async def _read_health(self, url: str, component: str) -> None:
        try:
            data = await fetch_document(self._session, url + REPORT, _MAX_BODY, _TIMEOUT, component=component)
            report = _reports.decode(data)
        except (StatusError, ValueError):
            return
        for each in report.components:
            self._health[url, each.name] = str(each.health.get("status", "unknown"))[:_LONGEST_STATUS]
