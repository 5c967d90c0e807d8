"""What the users of a Consul registry on one event loop share: connections, and what is known."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .api.client import ConsulClient
from .crowd_reader import CrowdReader
from .feed import Feed, keep

if TYPE_CHECKING:
    from .api.config import ConsulConfig

_logger = logging.getLogger(__name__)

_MANY = 100  # queries; an agent allows 200 connections for all processes of a machine


class Hub:
    """Some components have a query each, the ones that are watched first; the others share a few.

    A query of one's own is the simplest and the quickest, so that nobody who watches a handful depends on more.

    Attributes:
        client: for what is no watch.
        users: how many have entered.
        open: whether it was started and not stopped.
    """

    def __init__(self, config: ConsulConfig) -> None:
        self.client = ConsulClient(config)
        self.users = 0
        self.open = False
        self._most = config.watches
        self._feeds: dict[str, Feed] = {}
        self._own: dict[Feed, asyncio.Task[None]] = {}
        self._crowd = CrowdReader(self.client)
        self._said = False

    def start(self) -> None:
        """Begin; nothing is sent yet."""
        self.client.start()
        self.open = True

    async def stop(self, cause: str) -> None:
        """End all queries and connections."""
        self.open = False
        tasks = list(self._own.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._crowd.stop()
        for feed in self._feeds.values():
            feed.fail(cause)  # who still watches, by mistake, must not take silence for "nothing changed"
        await self.client.close()

    def feed(self, component: str) -> Feed:
        """What is known of a component."""
        feed = self._feeds.get(component)
        if feed is None:
            feed = self._feeds[component] = Feed(component, self)
        return feed

    def begin(self, feed: Feed) -> None:
        """The first has come to follow a feed."""
        before = self._own.get(feed)
        if before is not None and not before.done():
            return  # the query of those who were there before is still under way
        self._own.pop(feed, None)
        feed.forget()
        if len(self._own) >= self._most:
            self._crowd.add(feed)
            return
        task = asyncio.create_task(keep(self.client, feed), name=f"meshcore.registry.consul {feed.component}")
        self._own[feed] = task
        task.add_done_callback(lambda ended: self._forget(feed, ended))
        if len(self._own) >= _MANY and not self._said:
            self._said = True
            _logger.warning(
                "this process watches %d components over a connection each; Consul agents allow 200 for all processes "
                "of a machine unless limits.http_max_conns_per_client says otherwise; a lower `watches` needs fewer",
                len(self._own),
            )

    def end(self, feed: Feed) -> None:
        """The last has left a feed."""
        self._crowd.remove(feed)

    def _forget(self, feed: Feed, ended: asyncio.Task[None]) -> None:
        """A query has ended; between that and this call another may have begun for its feed."""
        if self._own.get(feed) is ended:
            del self._own[feed]
