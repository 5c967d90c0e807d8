"""Asks a registry for all instances, and their processes for their summaries."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from meshcore.client.connections.no_answer import why_no_answer
from meshcore.client.contract_fetch import StatusError, fetch_document
from meshcore.core.errors import CommunicationError
from meshcore.core.instances import Instance
from meshcore.core.masking import without_secrets
from meshcore.ports.registry import ComponentRegistry
from meshcore.telemetry.history import STEP, STEPS
from meshcore.telemetry.overview.overview import Look, servers_of
from meshcore.telemetry.summary import Summary
from meshcore.wire.endpoints import REPORT, SUMMARY

_TIMEOUT = 1.0
"""Seconds for all answers of a look. Who needs longer is shown as one that does not answer."""

_AT_FIRST = 500
"""Servers that are asked at the same time when they were never asked before."""

_EACH_LOOK = 25
"""Servers that are asked at a look if they were asked before, those first that were asked longest ago. So a look at a
mesh of any size costs about as much as one at a mesh of 25 servers; in one of 200, each is asked every eighth time."""

_HISTORIES = 10
"""Servers whose last 15 minutes are read at a look. They are long; later, only what is new is read."""

_LONGEST_PAUSE = 8.0
"""Seconds until a server is asked again that does not answer in time. The first time it is 1 s, then twice as much."""

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


class _Server:
    """What is known of the server at a URL.

    Args:
        component: one of those that it serves, which it has to prove if this process has an identity.

    Attributes:
        asked: when it was asked last.
        summaries: what it told last, None if it did not answer.
        error: why not.
        problem: why what it told cannot be used.
        pause: seconds until it is asked again, because it hangs.
        step: the last step of its history that was read, None for none.
        health_asked: when it was asked for its health.
        health: the status of its components.
    """

    __slots__ = ("asked", "component", "error", "health", "health_asked", "pause", "problem", "step", "summaries")

    def __init__(self, component: str) -> None:
        self.component = component
        self.asked = self.health_asked = float("-inf")
        self.summaries: Sequence[Summary] | None = None
        self.error = self.problem = ""
        self.pause = 0.0
        self.step: int | None = None
        self.health: dict[str, str] = {}


class Looker:
    """Looks at a mesh. It remembers what it last read: not every server is asked at each look.

    Args:
        registry: where the instances are; it is entered.
        session: for the questions, without a limit of connections: one that waits for those of others would take
            servers for dead that are not.
        clock: seconds that only go forward.
        history: whether servers are asked for their last 15 minutes.
    """

    def __init__(
        self,
        registry: ComponentRegistry,
        session: aiohttp.ClientSession,
        clock: Callable[[], float] = time.monotonic,
        *,
        history: bool = False,
    ) -> None:
        self._registry = registry
        self._session = session
        self._clock = clock
        self._history = history
        self._announced: Mapping[str, Sequence[Instance]] = {}
        self._servers: dict[str, _Server] = {}

    async def look(self) -> Look:
        """Look at all of it. Raises nothing that a broken registry or server could cause: the result says it."""
        problems: list[str] = []
        unread = ""
        try:
            self._announced = await self._registry.instances()
        except CommunicationError as error:
            unread = f"The registry cannot be read{_BEFORE if self._announced else ''}: {error}."
            problems.append(unread)
        found = servers_of(self._announced)
        servers = self._servers = {url: self._servers.get(url) or _Server(found[url]) for url in sorted(found)}
        await self._ask(self._due(self._clock()))
        cannot = [each.problem for each in servers.values() if each.problem]
        if len(cannot) > _MOST_PROBLEMS:
            cannot[_MOST_PROBLEMS:] = [f"More such problems: {len(cannot) - _MOST_PROBLEMS}."]
        return Look(
            at=time.time(),
            clock=self._clock(),
            announced=self._announced,
            summaries={url: each.summaries for url, each in servers.items() if each.summaries is not None},
            errors={url: each.error for url, each in servers.items() if each.error},
            health={(url, name): status for url, each in servers.items() for name, status in each.health.items()},
            problems=problems + cannot,
            unread=unread,
        )

    def _due(self, now: float) -> list[str]:
        """The servers to ask now: the new ones, and some of the others."""
        new = [url for url, server in self._servers.items() if server.asked == float("-inf")]
        others = [url for url, server in self._servers.items() if server.pause <= now - server.asked < float("inf")]
        return new[:_AT_FIRST] + heapq.nsmallest(_EACH_LOOK, others, key=lambda url: self._servers[url].asked)

    async def _ask(self, urls: Sequence[str]) -> None:
        """Ask all of them at the same time."""
        asking: dict[asyncio.Task[None], _Server | None] = {}
        histories = _HISTORIES
        for url in urls:
            server = self._servers[url]
            server.asked = self._clock()
            steps = self._steps(server) if server.step is not None or histories else 0
            histories -= steps == STEPS
            asking[asyncio.create_task(self._ask_one(url, server, steps))] = server
            if server.asked - server.health_asked >= _HEALTH and not server.pause:
                server.health_asked = server.asked
                asking[asyncio.create_task(self._ask_health(url, server))] = None
        if not asking:
            return
        late: set[asyncio.Task[None]] = set()
        try:
            _, late = await asyncio.wait(asking, timeout=_TIMEOUT)
        finally:
            for task in asking:
                task.cancel()
        if late:
            await asyncio.wait(late)
        for task, asked in asking.items():
            if not task.cancelled():
                task.result()
            elif asked is not None:
                asked.summaries, asked.error, asked.problem = None, "no answer in time", ""
                asked.pause = min(max(1.0, 2 * asked.pause), _LONGEST_PAUSE)

    def _steps(self, server: _Server) -> int:
        """How many steps of its history a server is to tell: those that have ended since it was asked."""
        if not self._history:
            return 0
        return STEPS if server.step is None else min(max(int(time.time() // STEP) - server.step, 0), STEPS)

    async def _ask_one(self, url: str, server: _Server, steps: int) -> None:
        """Read the summaries of a server's processes."""
        number = int(time.time() // STEP)
        try:
            question = f"{url}{SUMMARY}?history={steps or 'no'}"
            data = await fetch_document(self._session, question, _MAX_BODY, None, component=server.component)
            server.summaries, server.error, server.problem = _summaries.decode(data).processes, "", ""
            if steps:
                server.step = number
        except StatusError as error:  # an older release, or another program, unless it says that it is not for us
            server.summaries, server.error, server.problem = [], "", ""
            if error.denied:
                server.problem = f"{without_secrets(url)}{SUMMARY}: {error.why}."
        except (aiohttp.ClientError, TimeoutError) as error:
            server.summaries, server.error, server.problem = None, why_no_answer(error), ""
        except ValueError as error:  # errors of msgspec are such, too
            server.summaries, server.error = [], ""
            server.problem = f"{without_secrets(url)}{SUMMARY} cannot be used: {error}."
        server.pause = 0.0

    async def _ask_health(self, url: str, server: _Server) -> None:
        try:
            data = await fetch_document(self._session, url + REPORT, _MAX_BODY, None, component=server.component)
            report = _reports.decode(data)
        except (StatusError, ValueError, aiohttp.ClientError, TimeoutError):
            server.health = {}
            return
        server.health = {
            each.name: str(each.health.get("status", "unknown"))[:_LONGEST_STATUS] for each in report.components
        }
