"""Follows the calls of all servers that a registry knows, as they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import ceil
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from meshcore.client.connections.no_answer import why_no_answer
from meshcore.client.connections.sessions import request_options
from meshcore.core.errors import CommunicationError
from meshcore.core.masking import without_secrets
from meshcore.ports.registry import ComponentRegistry
from meshcore.telemetry.overview.overview import servers_of
from meshcore.telemetry.tap.tap import TapLine, Wanted
from meshcore.wire.endpoints import TAPPED

_INTERVAL = 1.0
"""Seconds between two looks at the registry, and until a server that has stopped to answer is asked again."""

_SILENCE = aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=5.0)
"""A server says twice a second that it is alive."""

_MOST_WAITING = 200
"""Lines that wait until they are shown. Then nothing more is read, and servers count what is lost."""

_LONGEST_LINE = 1 << 20

_line = msgspec.json.Decoder(TapLine)


class Followed(msgspec.Struct, frozen=True):
    """What one server tells.

    Attributes:
        url: of the server, without secrets.
        line: that it has sent, None if it tells nothing.
        problem: why not.
    """

    url: str
    line: TapLine | None = None
    problem: str = ""


class Follower:
    """Follows calls while its context lasts. Servers that start meanwhile are asked, too.

    Args:
        registry: where the servers are; it is entered.
        session: for the questions. It must not limit its connections: one stays open to each server.
        wanted: which calls. Its `max_rps` is shared out among the servers, as Linkerd does; each has at least one.
    """

    def __init__(self, registry: ComponentRegistry, session: aiohttp.ClientSession, wanted: Wanted) -> None:
        self._registry = registry
        self._session = session
        self._wanted = wanted
        self._found: asyncio.Queue[Followed] = asyncio.Queue(_MOST_WAITING)
        self._problems: dict[str, str] = {}
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._looking = asyncio.create_task(self._look(), name="meshcore.tap")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def next(self) -> Followed:
        """What a server tells next. A problem comes once, until it is another one."""
        assert self._looking is not None  # noqa: S101 - the context was entered
        getting = asyncio.ensure_future(self._found.get())
        try:
            await asyncio.wait([getting, self._looking], return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                self._looking.result()  # it never ends but with an error
            return await getting
        finally:
            getting.cancel()

    async def _look(self) -> None:
        """Ask each server that is announced."""
        asked: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    announced = await self._registry.instances()
                except CommunicationError as error:
                    await self._problem("", str(error))
                else:
                    servers = servers_of(announced)
                    share = max(ceil(self._wanted.max_rps / max(len(servers), 1)), 1)
                    asked = {url: task for url, task in asked.items() if not task.done()}
                    for url in servers.keys() - asked:
                        asked[url] = tasks.create_task(self._follow(url, servers[url], share))
                await asyncio.sleep(_INTERVAL)

    async def _follow(self, url: str, component: str, share: int) -> None:
        """Read what one server tells, until it ends."""
        wanted = msgspec.structs.replace(self._wanted, max_rps=share)
        try:
            options = request_options(self._session, component, url)
            async with self._session.get(
                url + TAPPED, params=_query(wanted), timeout=_SILENCE, allow_redirects=False, **options
            ) as response:
                if response.status != 200:  # noqa: PLR2004 - OK
                    return await self._problem(url, await _refusal(response))
                self._problems.pop(url, None)
                async with aclosing(_read(response)) as lines:
                    async for line in lines:
                        await self._found.put(Followed(without_secrets(url), line))
        except (aiohttp.ClientError, TimeoutError) as error:
            await self._problem(url, why_no_answer(error))
        except (ValueError, UnicodeDecodeError, msgspec.DecodeError):
            await self._problem(url, "it tells something else than calls")

    async def _problem(self, url: str, text: str) -> None:
        if self._problems.get(url) != text:
            self._problems[url] = text
            await self._found.put(Followed(without_secrets(url), problem=text))


async def _read(response: aiohttp.ClientResponse) -> AsyncGenerator[TapLine]:
    """The lines of an answer."""
    rest = b""
    async for part in response.content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for each in lines:
            yield _line.decode(each)
        if len(rest) > _LONGEST_LINE:
            raise ValueError("a line is too long")


async def _refusal(response: aiohttp.ClientResponse) -> str:
    if response.status == 404:  # noqa: PLR2004 - not found
        return "it does not show its calls: it runs an older release"
    text = (await response.content.read(500)).decode(errors="replace")
    return f"it answers {response.status}: {text}"


def _query(wanted: Wanted) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(wanted)
    return {name: int(value) if isinstance(value, bool) else value for name, value in plain.items()}
