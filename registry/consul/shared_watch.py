"""Watches any number of components over few connections. Its `ReadScheduler` decides what to read when."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from .feed import Answer, failure_of, read_component
from .machines.blocking_query import BlockingQuery
from .machines.read_scheduler import ReadScheduler
from .machines.steps import Idle, ReadChecks, ReadService
from .registrations import editions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from .api.client import ConsulClient
    from .feed import Feed
    from .machines.blocking_query import Query

_logger = logging.getLogger(__name__)

_UNHEALTHY = ("critical", "warning")
_CHECKS_TIMEOUT = 30.0  # seconds for all checks, which may be megabytes


class SharedWatch:
    """Runs three blocking queries, and the reads that its `ReadScheduler` asks for.

    The queries pause while there is no feed. Those in progress when the last feed leaves are not cancelled: the agent
    would hold them until their waits end. A feed that is added meanwhile uses them.
    """

    def __init__(self, client: ConsulClient) -> None:
        self._client = client
        self._scheduler = ReadScheduler(random.Random())
        self._feeds: dict[str, Feed] = {}
        self._has_feeds = asyncio.Event()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, feed: Feed) -> None:
        """Start to update a feed."""
        if not self._tasks:
            self._spawn(self._run_steps(), "reads")
            self._spawn(self._repeat(self._query_catalog, self._scheduler.catalog_stopped), "catalog")
            for state in _UNHEALTHY:
                self._spawn(self._repeat(partial(self._query_unhealthy, state)), state)
        self._feeds[feed.name] = feed
        self._has_feeds.set()
        feed.publish(self._scheduler.add(feed.name, self._now()))
        self._wake.set()

    def remove(self, feed: Feed) -> None:
        """Stop to update a feed, if it is one of these."""
        if self._feeds.pop(feed.name, None) is not None:
            self._scheduler.remove(feed.name)
            if not self._feeds:
                self._has_feeds.clear()
            self._wake.set()

    async def stop(self) -> None:
        """Cancel all queries and reads."""
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

    async def _run_steps(self) -> None:
        while True:
            self._wake.clear()  # before the step: a report after it wakes this task again
            match self._scheduler.step(self._now()):
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
        found = await read_component(self._client, feed)
        if isinstance(found, Answer):
            update = self._scheduler.service_answered(
                read, self._now(), found.index, found.entries, leader=found.leader
            )
        else:
            _logger.info(
                "%s: Consul cannot be read, the last known instances stay in use: %s", feed.component, found.cause
            )
            update = self._scheduler.service_failed(read, self._now(), found.cause, permanent=found.permanent)
        feed.publish(update)
        self._wake.set()

    async def _read_checks(self) -> None:
        try:
            index, rows = await self._client.checks("any", timeout=_CHECKS_TIMEOUT)
            self._scheduler.checks_answered(rows, self._now(), index)
        except Exception as error:  # noqa: BLE001 - no error may end the watch
            _logger.info("the checks of all services: %s", failure_of(error, "all checks").cause)
            self._scheduler.checks_failed(self._now())
        self._wake.set()

    async def _repeat(
        self, send: Callable[[BlockingQuery, Query], Awaitable[None]], stopped: Callable[[], None] = lambda: None
    ) -> None:
        """Send a blocking query again and again while there are feeds."""
        while True:
            await self._has_feeds.wait()
            queries = BlockingQuery(random.Random())  # the index of before the pause may be from before a restart
            while self._feeds:
                query = queries.query(self._now())
                await asyncio.sleep(max(0.0, query.at - self._now()))
                await send(queries, query)
                self._wake.set()
            stopped()

    async def _query_catalog(self, queries: BlockingQuery, query: Query) -> None:
        try:
            index, tags = await self._client.catalog(index=query.index, wait=query.wait, timeout=query.timeout)
            if queries.answered(index):
                found = {name: editions(each) for name, each in tags.items()}
                self._scheduler.catalog_answered(found, self._now(), index)
        except Exception as error:  # noqa: BLE001 - as above
            failure = failure_of(error, "the catalog")
            queries.failed(self._now(), permanent=failure.permanent)
            updates = self._scheduler.catalog_failed(failure.cause, self._now(), permanent=failure.permanent)
            if updates:
                text = "Consul cannot be read, the last known instances of %d components stay in use: %s"
                _logger.info(text, len(updates), failure.cause)
            for name, update in updates:
                self._feeds[name].publish(update)

    async def _query_unhealthy(self, state: str, queries: BlockingQuery, query: Query) -> None:
        try:
            index, rows = await self._client.checks(state, index=query.index, wait=query.wait, timeout=query.timeout)
            if queries.answered(index):
                self._scheduler.unhealthy_answered(state, rows, self._now())
        except Exception as error:  # noqa: BLE001 - as above
            queries.failed(self._now(), permanent=failure_of(error, f"{state} checks").permanent)
