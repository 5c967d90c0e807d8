"""The announcement of a served process: made as soon as its address leads to it, kept up, and withdrawn."""

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

from meshcore.core.instances import Instance
from meshcore.core.settings import Settings
from meshcore.ports.registry import ComponentRegistry

log = logging.getLogger(__name__)

_PROBE_EVERY = 0.05
_SAY_AFTER = 3.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_AT_ONCE = 8
"""Instances that are being announced: while one is, Consul's adapter may keep a connection to the agent."""
_LAST_PAUSE = 0.5  # for what is being taken back in a hurry


class Announcement:
    """While the context lasts, announces instances, each again and again until the registry takes it.

    Args:
        registry: where.
        instances: what; there may be none.
        settings: the address, and whether to see first that it leads here.
    """

    def __init__(self, registry: ComponentRegistry, instances: Sequence[Instance], settings: Settings) -> None:
        self._registry = registry
        self._instances = instances
        self._settings = settings
        self._announced: set[str] = set()  # the ids of those that the registry has now
        self._known = False  # whether somebody may have heard of one of them
        self._begun = False
        self._over = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="meshcore.serve.announcement")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            if self._over.is_set():  # it is being taken back, and to cancel would end just that
                await asyncio.wait([self._task], timeout=_LAST_PAUSE)
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def holds(self) -> bool:
        """Whether the registry has all of it, and it is not withdrawn; also if there is nothing to announce."""
        return len(self._announced) == len(self._instances) and not self._over.is_set()

    async def withdraw(self, hurry: asyncio.Event) -> bool:
        """Take it back; whether any of it had been made, so that somebody may know of it.

        Args:
            hurry: when it is set, whatever is not taken back by then is no longer waited for.
        """
        self._over.set()
        if self._task is None:
            return False
        if not self._begun:  # it still waits for the address to lead here
            self._task.cancel()
        hurried = asyncio.create_task(hurry.wait())
        try:
            await asyncio.wait([self._task, hurried], return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()
        return self._known

    async def _run(self) -> None:
        if not self._instances:
            return
        if self._settings.verify_advertise:
            await self._reached()
        self._begun = True
        # Each by itself: one that the registry never takes must not take the others with it, and where the registry
        # hangs, they are withdrawn in the time of one.
        async with asyncio.TaskGroup() as group:
            keeping = [(each, group.create_task(self._keep(each))) for each in self._instances]
            await self._over.wait()
            for instance, task in keeping:
                if instance.id not in self._announced:
                    task.cancel()

    async def _keep(self, instance: Instance) -> None:
        """Announce one instance, as soon as the registry takes it, until it is over."""
        delay, said = _SHORTEST_PAUSE, ""
        while not self._over.is_set():
            try:
                async with AsyncExitStack() as stack:
                    async with self._places:
                        await stack.enter_async_context(self._registry.announce(instance))
                    log.info("announced %s at %s", instance.component, self._settings.advertise_url)
                    self._known = True
                    self._announced.add(instance.id)
                    delay, said = _SHORTEST_PAUSE, ""
                    await self._over.wait()
            except Exception as error:  # noqa: BLE001 - the registry may be back in a moment; serving goes on
                text = str(error) or type(error).__name__
                if self._over.is_set():
                    if instance.id in self._announced:
                        log.error("withdrawing %s failed: %s", instance.component, text)  # noqa: TRY400 - not ours
                    return
                self._announced.discard(instance.id)
                if text != said:
                    said = text
                    log.error(  # noqa: TRY400 - not ours
                        "announcing %s failed, trying again in %.1f s: %s", instance.component, delay, text
                    )
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_PAUSE)

    async def _reached(self) -> None:
        """Return when the advertised URL answers as this very process: then it listens, and clients will find it.

        An address that leads elsewhere is never announced, since calls would be sent to somebody else.
        """
        url = self._settings.advertise_url
        loop = asyncio.get_running_loop()
        begun, said = loop.time(), ""
        timeout = aiohttp.ClientTimeout(total=2.0)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                reason = await _ask(session, url, server_identity())
                if not reason:
                    return
                if reason != said and loop.time() - begun > _SAY_AFTER:
                    said = reason
                    log.error(
                        "not announced: the advertised URL %s %s. Set MESHCORE_ADVERTISE_URL to the URL under which "
                        "clients reach this server (now from: %s)",
                        url,
                        reason,
                        self._settings.sources.get("advertise_url", "default"),
                    )
                await asyncio.sleep(_PROBE_EVERY if not said else 1.0)


def server_identity() -> str:
    """The same for all workers that share one listening socket: any of them may answer for the others."""
    parent = multiprocessing.parent_process()
    return f"{os.uname().nodename}:{parent.pid if parent is not None else os.getpid()}"


async def _ask(session: aiohttp.ClientSession, url: str, identity: str) -> str:
    """Why the URL does not lead here, empty if it does."""
    try:
        async with session.get(f"{url.rstrip('/')}/livez") as response:
            answer = await response.json(content_type=None)
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        return f"cannot be reached ({str(error) or type(error).__name__})"
    except (aiohttp.ClientError, ValueError):
        return "leads to another program, which is no mesh"
    if not isinstance(answer, dict) or "server" not in answer:
        return "leads to another program, which is no mesh"
    if answer["server"] != identity:
        return f"leads to another process ({answer['server']}, this is {identity})"
    return ""
