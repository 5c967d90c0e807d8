"""Keeps up the feeds of any number of components over few connections; what to read when is the crowd's to decide."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from .entries import editions
from .feed import Found, look, trouble
from .machines.crowd import Crowd
from .machines.cursor import Cursor
from .machines.steps import Idle, ReadChecks, ReadService

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .api.client import ConsulClient
    from .feed import Feed
    from .machines.cursor import Query

_logger = logging.getLogger(__name__)

_STATES = ("critical", "warning")
_LONG = 30.0  # seconds for all checks, which may be megabytes


class CrowdReader:
    """The shell of `Crowd`: three blocking queries, and the reads that it asks for.

    The queries rest while there is no feed to keep up. Those that are under way when the last one leaves are not
    cancelled, as the agent would hold them until their waits end; who comes back meanwhile goes on with them.
    """

    def __init__(self, client: ConsulClient) -> None:
        self._client = client
        self._crowd = Crowd(random.Random())
        self._feeds: dict[str, Feed] = {}
        self._wanted = asyncio.Event()  # there are feeds
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, feed: Feed) -> None:
        """Keep a feed up from now on."""
        if not self._tasks:
            self._spawn(self._lead(), "crowd")
            self._spawn(self._watch_catalog(), "catalog")
            for state in _STATES:
                self._spawn(self._watch_unwell(state), state)
        self._feeds[feed.name] = feed
        self._wanted.set()
        feed.publish(self._crowd.add(feed.name, self._now()))
        self._wake.set()

    def remove(self, feed: Feed) -> None:
        """Nobody follows it any more; nothing happens if it is not one of these."""
        if self._feeds.pop(feed.name, None) is not None:
            self._crowd.remove(feed.name)
            if not self._feeds:
                self._wanted.clear()
            self._wake.set()

    async def stop(self) -> None:
        """End everything."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"meshcore.registry.consul {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _lead(self) -> None:
        while True:
            self._wake.clear()  # before looking: what is told after the look wakes us again
            match self._crowd.step(self._now()):
                case ReadService(name) as read:
                    self._spawn(self._read_service(read, self._feeds[name]), f"read of {name}")
                case ReadChecks():
                    self._spawn(self._read_checks(), "read of all checks")
                case Idle(until):
                    seconds = None if until == inf else max(0.0, until - self._now())
                    with suppress(TimeoutError):
                        async with asyncio.timeout(seconds):
                            await self._wake.wait()

    async def _read_service(self, read: ReadService, feed: Feed) -> None:
        found = await look(self._client, feed)
        if isinstance(found, Found):
            news = self._crowd.answered(read, self._now(), found.index, found.entries, leader=found.leader)
        else:
            _logger.info("%s: the last that is known stays in use: %s", feed.component, found.cause)
            news = self._crowd.failed(read, self._now(), found.cause, refused=found.refused)
        feed.publish(news)
        self._wake.set()

    async def _read_checks(self) -> None:
        try:
            index, rows = await self._client.checks("any", timeout=_LONG)
            self._crowd.checked(rows, self._now(), index)
        except Exception as error:  # noqa: BLE001 - whatever it is, the watch goes on
            _logger.info("the checks of all services: %s", trouble(error, "all checks").cause)
            self._crowd.unchecked(self._now())
        self._wake.set()

    async def _watch_catalog(self) -> None:
        while True:
            await self._wanted.wait()
            cursor = Cursor(random.Random())  # an old index may be one of an agent that has restarted since
            while self._feeds:
                query = cursor.query(self._now())
                await asyncio.sleep(max(0.0, query.at - self._now()))
                await self._ask_catalog(cursor, query)
                self._wake.set()
            self._crowd.rest()

    async def _ask_catalog(self, cursor: Cursor, query: Query) -> None:
        try:
            index, tags = await self._client.catalog(index=query.index, wait=query.wait, timeout=query.timeout)
            if cursor.answered(index):
                self._crowd.catalog({name: editions(found) for name, found in tags.items()}, self._now(), index)
        except Exception as error:  # noqa: BLE001 - as above
            found = trouble(error, "the catalog")
            cursor.failed(self._now(), refused=found.refused)
            told = self._crowd.lost(found.cause, self._now(), refused=found.refused)
            if told:
                _logger.info("the last that is known of %d components stays in use: %s", len(told), found.cause)
            for name, news in told:
                self._feeds[name].publish(news)

    async def _watch_unwell(self, state: str) -> None:
        while True:
            await self._wanted.wait()
            cursor = Cursor(random.Random())
            while self._feeds:
                query = cursor.query(self._now())
                await asyncio.sleep(max(0.0, query.at - self._now()))
                await self._ask_unwell(state, cursor, query)
                self._wake.set()

    async def _ask_unwell(self, state: str, cursor: Cursor, query: Query) -> None:
        try:
            index, rows = await self._client.checks(state, index=query.index, wait=query.wait, timeout=query.timeout)
            if cursor.answered(index):
                self._crowd.unwell(state, rows, self._now())
        except Exception as error:  # noqa: BLE001 - as above
            found = trouble(error, f"{state} checks")
            cursor.failed(self._now(), refused=found.refused)
