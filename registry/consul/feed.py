"""What is known of one component, shared by all who watch it, and the query that it may have of its own."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import msgspec

from meshcore.core.errors import AuthorizationError, Code, CommunicationError, MeshError

from ..sightings import Sightings
from .api.rights import why_hidden
from .entries import entry_of, service_name
from .machines.service_watch import ConsulWatch, Entry, Lost, News, Seen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from meshcore.core.instances import Sighting

    from .api.client import ConsulClient
    from .machines.cursor import Query

_logger = logging.getLogger(__name__)


class Driver(Protocol):
    """Who keeps feeds up."""

    def begin(self, feed: Feed) -> None:
        """The first has come to follow it."""

    def end(self, feed: Feed) -> None:
        """The last has left."""


class Feed:
    """What is known of one component, kept up as long as somebody follows it.

    Attributes:
        component: its name.
        name: that of its service in Consul.
        followers: how many there are.
        believed: that nobody is there, as the token would see them.
    """

    def __init__(self, component: str, driver: Driver) -> None:
        self.component = component
        self.name = service_name(component)
        self.followers = 0
        self.believed = False
        self._driver = driver
        self._sightings = Sightings()

    async def follow(self) -> AsyncGenerator[Sighting, None]:
        """What `ComponentRegistry.watch` promises."""
        self.followers += 1
        try:
            if self.followers == 1:
                self._driver.begin(self)
            async with aclosing(self._sightings.follow(self.component)) as sightings:
                async for sighting in sightings:
                    yield sighting
        finally:
            self.followers -= 1
            if not self.followers:
                self._driver.end(self)

    def forget(self) -> None:
        """What was known has grown old; before anybody follows."""
        self._sightings = Sightings()

    def fail(self, cause: str) -> None:
        """Tell those who watch that nothing can be told, or nothing more will come."""
        self._sightings.fail(CommunicationError(Code.UNAVAILABLE, cause))

    def publish(self, news: News) -> None:
        """Tell those who watch."""
        match news:
            case Seen(instances, desperate):
                if desperate:
                    text = "all instances of %s, or all for one of its channels, are critical; asking them"
                    _logger.warning(text, self.component)
                self._sightings.publish({self.component: instances})
            case Lost(cause):
                self.fail(cause)
            case None:
                pass


class Found(msgspec.Struct, frozen=True):
    """The answer of Consul for a component."""

    index: int
    leader: bool
    entries: list[Entry]


class Trouble(msgspec.Struct, frozen=True):
    """None came; `refused` if time alone will not heal it."""

    cause: str
    refused: bool


async def keep(client: ConsulClient, feed: Feed) -> None:
    """Keep a feed up by a query of its own, one at a time, as long as somebody follows it.

    When the last one leaves, the query that is under way is not cancelled: the agent would hold it until its wait ends,
    and who comes back meanwhile goes on with it.
    """
    loop = asyncio.get_running_loop()
    machine = ConsulWatch(random.Random())
    while feed.followers:
        query = machine.query(loop.time())
        await asyncio.sleep(max(0.0, query.at - loop.time()))
        found = await look(client, feed, query)
        if isinstance(found, Found):
            news = machine.answered(loop.time(), found.index, found.entries, leader=found.leader)
        else:
            news = machine.failed(loop.time(), found.cause, refused=found.refused)
        if isinstance(news, Lost):
            level = logging.ERROR if news.refused else logging.INFO  # time alone does not heal it
            _logger.log(level, "%s: the last that is known stays in use: %s", feed.component, news.cause)
        feed.publish(news)


async def look(client: ConsulClient, feed: Feed, query: Query | None = None) -> Found | Trouble:
    """Ask for a component; without a query at once, over a connection that others use as well."""
    try:
        if query is None:
            found = await client.health(feed.name, pooled=True)
        else:
            found = await client.health(feed.name, index=query.index, wait=query.wait, timeout=query.timeout)
        # An empty list is what a token without rights gets, too. Asked once, each time that all are gone.
        if not found.entries and not feed.believed and (why := await why_hidden(client, feed.name, found)):
            raise AuthorizationError(Code.PERMISSION_DENIED, why)  # noqa: TRY301 - as if Consul had said so
        feed.believed = not found.entries
        # Names that Consul does not tell apart do not occur, but somebody else may register anything.
        entries = [
            entry
            for each in found.entries
            if (entry := entry_of(each)) is not None and entry.instance.component == feed.component
        ]
        return Found(found.index, found.leader, entries)
    except Exception as error:  # noqa: BLE001 - whatever it is, the watch goes on
        feed.believed = False
        return trouble(error, feed.component)


def trouble(error: Exception, what: str) -> Trouble:
    """What an error of the client comes to."""
    if isinstance(error, MeshError):
        refused = isinstance(error, AuthorizationError) or error.code is Code.INVALID_ARGUMENT
        return Trouble(error.message, refused)
    _logger.error("a mistake in the watch of %s", what, exc_info=error)
    return Trouble(repr(error), refused=True)
