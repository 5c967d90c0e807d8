"""Announces the instances of a serving process in the registry, as soon as its URL is reachable, and withdraws them."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import aiohttp

from meshcore.client.connections.no_answer import why_no_answer
from meshcore.client.connections.sessions import open_session, request_options
from meshcore.core.instances import Instance
from meshcore.core.settings import Settings
from meshcore.ports.channel import ChannelTLS
from meshcore.ports.registry import ComponentRegistry
from meshcore.wire.endpoints import LIVEZ

log = logging.getLogger(__name__)

_PROBE_INTERVAL = 0.05
_LOG_AFTER = 3.0
_MIN_BACKOFF, _MAX_BACKOFF = 0.1, 5.0
_CONCURRENCY = 8
"""How many instances are announced at a time: each may use a connection to the Consul agent meanwhile."""
_LAST_WAIT = 0.5
"""Seconds for a withdrawal in progress, when the process must end at once."""


class Announcement:
    """Announces instances while the context lasts. Failed announcements are retried until the registry accepts them.

    Args:
        registry: the registry.
        instances: the instances to announce, possibly none.
        settings: give the advertised URL, and whether to check first that it leads to this process.
        tls: of this process, None without an identity.
    """

    def __init__(
        self,
        registry: ComponentRegistry,
        instances: Sequence[Instance],
        settings: Settings,
        tls: ChannelTLS | None = None,
    ) -> None:
        self._registry = registry
        self._instances = instances
        self._settings = settings
        self._tls = tls
        self._announced: set[str] = set()  # ids of the instances that are in the registry now
        self._seen = False  # whether clients may have seen one of them
        self._begun = False
        self._withdrawn = asyncio.Event()
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="meshcore.serve.announcement")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            if self._withdrawn.is_set():  # the withdrawal is in progress; cancelling would interrupt it
                await asyncio.wait([self._task], timeout=_LAST_WAIT)
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def holds(self) -> bool:
        """Whether all instances are announced and not withdrawn. True if there are none."""
        return len(self._announced) == len(self._instances) and not self._withdrawn.is_set()

    async def withdraw(self, hurry: asyncio.Event) -> bool:
        """Withdraw the instances. Returns whether clients may have seen one of them.

        Args:
            hurry: when it is set, do not wait for the registry any longer.
        """
        self._withdrawn.set()
        if self._task is None:
            return False
        if not self._begun:  # it still waits for the URL to be reachable
            self._task.cancel()
        hurried = asyncio.create_task(hurry.wait())
        try:
            await asyncio.wait([self._task, hurried], return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()
        return self._seen

    async def _run(self) -> None:
        if not self._instances:
            return
        if self._settings.verify_advertise:
            await self._until_reachable()
        self._begun = True
        # One task each: an instance that the registry does not accept must not delay the others. If the registry hangs,
        # all of them are withdrawn in the time of one.
        async with asyncio.TaskGroup() as group:
            keeping = [(each, group.create_task(self._keep(each))) for each in self._instances]
            await self._withdrawn.wait()
            for instance, task in keeping:
                if instance.id not in self._announced:
                    task.cancel()

    async def _keep(self, instance: Instance) -> None:
        """Announce one instance until it is withdrawn, with retries."""
        delay, logged = _MIN_BACKOFF, ""
        while not self._withdrawn.is_set():
            try:
                async with AsyncExitStack() as stack:
                    async with self._slots:
                        await stack.enter_async_context(self._registry.announce(instance))
                    log.info("announced %s at %s", instance.component, self._settings.advertise_url)
                    self._seen = True
                    self._announced.add(instance.id)
                    delay, logged = _MIN_BACKOFF, ""
                    await self._withdrawn.wait()
            except Exception as error:  # noqa: BLE001 - the registry may recover; the server goes on
                text = str(error) or type(error).__name__
                if self._withdrawn.is_set():
                    if instance.id in self._announced:
                        log.error("withdrawing %s failed: %s", instance.component, text)  # noqa: TRY400 - not our bug
                    return
                self._announced.discard(instance.id)
                if text != logged:
                    logged = text
                    log.error(  # noqa: TRY400 - not our bug
                        "announcing %s failed, trying again in %.1f s: %s", instance.component, delay, text
                    )
                await asyncio.sleep(delay)
                delay = min(delay * 2, _MAX_BACKOFF)

    async def _until_reachable(self) -> None:
        """Return when the advertised URL leads to this process, so that clients can reach it.

        A URL that leads elsewhere is never announced: calls would go to another server.
        """
        url = self._settings.advertise_url
        loop = asyncio.get_running_loop()
        begun, logged = loop.time(), ""
        timeout = aiohttp.ClientTimeout(total=2.0)
        async with open_session(self._tls, timeout=timeout) as session:
            while True:
                reason = await _why_unreachable(session, url, server_identity(), self._instances[0].component)
                if not reason:
                    return
                if reason != logged and loop.time() - begun > _LOG_AFTER:
                    logged = reason
                    log.error(
                        "not announced: the advertised URL %s %s. Set MESHCORE_ADVERTISE_URL to the URL under which "
                        "clients reach this server (now from: %s)",
                        url,
                        reason,
                        self._settings.sources.get("advertise_url", "default"),
                    )
                await asyncio.sleep(_PROBE_INTERVAL if not logged else 1.0)


def server_identity() -> str:
    """The identity of this server: the same for all workers that share its listening socket."""
    parent = multiprocessing.parent_process()
    return f"{os.uname().nodename}:{parent.pid if parent is not None else os.getpid()}"


async def _why_unreachable(session: aiohttp.ClientSession, url: str, identity: str, component: str) -> str:
    """Why the URL does not lead to this server, empty if it does."""
    try:
        options = request_options(session, component, url)
        async with session.get(url.rstrip("/") + LIVEZ, allow_redirects=False, **options) as response:
            answer = await response.json(content_type=None)
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        return f"cannot be reached ({why_no_answer(error)})"
    except (aiohttp.ClientError, ValueError):
        return "leads to another program, which is no mesh"
    if not isinstance(answer, dict) or "server" not in answer:
        return "leads to another program, which is no mesh"
    if answer["server"] != identity:
        return f"leads to another process ({answer['server']}, this is {identity})"
    return ""
