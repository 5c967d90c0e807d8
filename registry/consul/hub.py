"""The connections and feeds that all users of a Consul registry on one event loop share."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .api.client import ConsulClient
from .feed import Feed, watch_component
from .shared_watch import SharedWatch

if TYPE_CHECKING:
    from .api.config import ConsulConfig

_logger = logging.getLogger(__name__)

_MANY = 100  # queries; an agent allows 200 connections for all processes of a machine


class Hub:
    """The first components that are watched have a query each. Those beyond `watches` share a few.

    A query of its own is simpler and faster. So a process that watches a few components does not depend on the rest.

    Attributes:
        client: for requests that are no watch.
        users: how many have entered.
        open: whether it was started and not stopped.
    """

    def __init__(self, config: ConsulConfig) -> None:
        self.client = ConsulClient(config)
        self.users = 0
        self.open = False
        self._max_queries = config.watches
        self._feeds: dict[str, Feed] = {}
        self._queries: dict[Feed, asyncio.Task[None]] = {}
        self._shared = SharedWatch(self.client)
        self._warned = False

    def start(self) -> None:
        """Make the sessions. Nothing is sent yet."""
        self.client.start()
        self.open = True

    async def stop(self, cause: str) -> None:
        """End all queries and connections."""
        self.open = False
        tasks = list(self._queries.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._shared.stop()
        for feed in self._feeds.values():
            feed.fail(cause)  # a watch that is still open must not mistake silence for "nothing changed"
        await self.client.close()

    def feed(self, component: str) -> Feed:
        """Return the feed of a component."""
        feed = self._feeds.get(component)
        if feed is None:
            feed = self._feeds[component] = Feed(component, self)
        return feed

    def begin(self, feed: Feed) -> None:
        """Start to update a feed: it has its first follower."""
        before = self._queries.get(feed)
        if before is not None and not before.done():
            return  # the query of its last followers is still in progress
        self._queries.pop(feed, None)
        feed.reset()
        if len(self._queries) >= self._max_queries:
            self._shared.add(feed)
            return
        task = asyncio.create_task(
            watch_component(self.client, feed), name=f"meshcore.registry.consul {feed.component}"
        )
        self._queries[feed] = task
        task.add_done_callback(lambda ended: self._forget(feed, ended))
        if len(self._queries) >= _MANY and not self._warned:
            self._warned = True
            _logger.warning(
                "this process watches %d components over a connection each; a Consul agent allows 200 connections from "
                "one machine unless its limits.http_max_conns_per_client is higher; a lower `watches` takes fewer",
                len(self._queries),
            )

    def end(self, feed: Feed) -> None:
        """Stop to update a feed: its last follower has left. A query of its own ends by itself."""
        self._shared.remove(feed)

    def _forget(self, feed: Feed, ended: asyncio.Task[None]) -> None:
        # A new query may have begun for the feed between the end of this one and the callback.
        if self._queries.get(feed) is ended:
            del self._queries[feed]
