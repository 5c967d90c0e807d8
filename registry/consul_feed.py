"""One blocking query at a time for one component, shared by all who watch it."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

from meshcore.errors import AuthorizationError, Code, CommunicationError, MeshError
from registry.consul_entries import entry_of, service_name
from registry.consul_watch import ConsulWatch, Lost, News, Seen
from registry.sightings import Sightings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from meshcore.instances import Sighting
    from registry.consul_client import ConsulClient

_logger = logging.getLogger(__name__)


class Feed:
    """What is known of one component, kept up as long as somebody follows it.

    When the last one leaves, the query that is under way is not cancelled: the agent would hold it until its wait ends,
    and who comes back meanwhile goes on with it.
    """

    def __init__(self, client: ConsulClient, component: str) -> None:
        self._client = client
        self._component = component
        self._sightings = Sightings()
        self._followers = 0
        self._task: asyncio.Task[None] | None = None

    async def follow(self) -> AsyncGenerator[Sighting, None]:
        """What `ComponentRegistry.watch` promises."""
        self._followers += 1
        try:
            if self._task is None or self._task.done():
                self._sightings = Sightings()  # what was known has grown old
                self._task = asyncio.create_task(self._run(), name=f"registry.consul {self._component}")
            async with aclosing(self._sightings.follow(self._component)) as sightings:
                async for sighting in sightings:
                    yield sighting
        finally:
            self._followers -= 1

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What runs, None if nothing does."""
        return self._task if self._task is not None and not self._task.done() else None

    def fail(self, cause: str) -> None:
        """Tell those who watch that nothing more will come."""
        self._sightings.fail(CommunicationError(Code.UNAVAILABLE, cause))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        machine = ConsulWatch(random.Random())
        name = service_name(self._component)
        while self._followers:
            query = machine.query(loop.time())
            await asyncio.sleep(max(0.0, query.at - loop.time()))
            try:
                found = await self._client.health(name, index=query.index, wait=query.wait, timeout=query.timeout)
                # Names that Consul does not tell apart do not occur, but somebody else may register anything.
                entries = [
                    entry
                    for each in found.entries
                    if (entry := entry_of(each)) is not None and entry.instance.component == self._component
                ]
                news = machine.answered(loop.time(), found.index, entries, leader=found.leader)
            except MeshError as error:
                refused = isinstance(error, AuthorizationError) or error.code is Code.INVALID_ARGUMENT
                news = machine.failed(loop.time(), error.message, refused=refused)
            except Exception as error:
                _logger.exception("a mistake in the watch of %s", self._component)
                news = machine.failed(loop.time(), repr(error), refused=True)
            self._publish(news)

    def _publish(self, news: News) -> None:
        match news:
            case Seen(instances, desperate):
                if desperate:
                    _logger.warning("all %d instances of %s are critical; asking them", len(instances), self._component)
                self._sightings.publish({self._component: instances})
            case Lost(cause):
                _logger.info("%s: the last that is known stays in use: %s", self._component, cause)
                self.fail(cause)
            case None:
                pass
