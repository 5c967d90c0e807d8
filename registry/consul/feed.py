"""The feed of one component: its newest sighting, shared by all who watch it, and the query that updates it."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import msgspec

from meshcore.core.errors import AuthorizationError, Code, CommunicationError, MeshError

from ..sightings import Sightings
from .api.acl import why_hidden
from .machines.service_watch import Entry, Selected, ServiceWatch, Update
from .machines.watch import Unreachable
from .registrations import entry_of, service_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from meshcore.core.instances import Sighting

    from .api.client import ConsulClient
    from .machines.blocking_query import Query

_logger = logging.getLogger(__name__)


class Updater(Protocol):
    """Updates feeds while they have followers."""

    def begin(self, feed: Feed) -> None:
        """Start to update a feed: it has its first follower."""

    def end(self, feed: Feed) -> None:
        """Stop to update a feed: its last follower has left."""


class Feed:
    """The sightings of one component, updated while it has followers.

    Attributes:
        component: its name.
        name: the name of its service in Consul.
        followers: how many there are.
        acl_checked: the last answer was empty, and not because the token may not read the service.
    """

    def __init__(self, component: str, updater: Updater) -> None:
        self.component = component
        self.name = service_name(component)
        self.followers = 0
        self.acl_checked = False
        self._updater = updater
        self._sightings = Sightings()

    async def follow(self) -> AsyncGenerator[Sighting, None]:
        """Yield sightings, as `ComponentRegistry.watch` does."""
        self.followers += 1
        try:
            if self.followers == 1:
                self._updater.begin(self)
            async with aclosing(self._sightings.follow(self.component)) as sightings:
                async for sighting in sightings:
                    yield sighting
        finally:
            self.followers -= 1
            if not self.followers:
                self._updater.end(self)

    def reset(self) -> None:
        """Forget the last sighting, which is outdated. Only without followers."""
        self._sightings = Sightings()

    def fail(self, cause: str) -> None:
        """Publish that the component cannot be read."""
        self._sightings.fail(CommunicationError(Code.UNAVAILABLE, cause))

    def publish(self, update: Update) -> None:
        """Publish an update."""
        match update:
            case Selected(instances, with_critical):
                if with_critical:
                    text = "all instances of %s, or of one of its channels, are critical; calls go to them all the same"
                    _logger.warning(text, self.component)
                self._sightings.publish({self.component: instances})
            case Unreachable(cause):
                self.fail(cause)
            case None:
                pass


class Answer(msgspec.Struct, frozen=True):
    """Consul's answer for a component."""

    index: int
    leader: bool
    entries: list[Entry]


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer. Retries do not mend a `permanent` failure."""

    cause: str
    permanent: bool


async def watch_component(client: ConsulClient, feed: Feed) -> None:
    """Update a feed by a blocking query of its own, while it has followers.

    When the last one leaves, the query in progress is not cancelled: the agent would hold it until its wait ends. A
    follower who comes meanwhile uses it.
    """
    loop = asyncio.get_running_loop()
    watch = ServiceWatch(random.Random())
    while feed.followers:
        query = watch.query(loop.time())
        await asyncio.sleep(max(0.0, query.at - loop.time()))
        found = await read_component(client, feed, query)
        update: Update
        if isinstance(found, Answer):
            update = watch.answered(loop.time(), found.index, found.entries, leader=found.leader)
        else:
            update = watch.failed(loop.time(), found.cause, permanent=found.permanent)
        if isinstance(update, Unreachable):
            level = logging.ERROR if update.permanent else logging.INFO
            text = "%s: Consul cannot be read, the last known instances stay in use: %s"
            _logger.log(level, text, feed.component, update.cause)
        feed.publish(update)


async def read_component(client: ConsulClient, feed: Feed, query: Query | None = None) -> Answer | Failure:
    """Read the registrations of a component: by a blocking query, or at once over a pooled connection."""
    try:
        if query is None:
            found = await client.health(feed.name, pooled=True)
        else:
            found = await client.health(feed.name, index=query.index, wait=query.wait, timeout=query.timeout)
        # A token without rights gets an empty list, too. So the ACL is checked, once per time that it is empty.
        if not found.entries and not feed.acl_checked and (why := await why_hidden(client, feed.name, found)):
            raise AuthorizationError(Code.PERMISSION_DENIED, why)  # noqa: TRY301 - as if Consul had answered so
        feed.acl_checked = not found.entries
        # `service_name` gives no two components one name, but others may register anything.
        entries = [
            entry
            for each in found.entries
            if (entry := entry_of(each)) is not None and entry.instance.component == feed.component
        ]
        return Answer(found.index, found.leader, entries)
    except Exception as error:  # noqa: BLE001 - no error may end the watch
        feed.acl_checked = False
        return failure_of(error, feed.component)


def failure_of(error: Exception, what: str) -> Failure:
    """Turn an error into a failure. One that is not of the client is logged: it is a bug."""
    if isinstance(error, MeshError):
        permanent = isinstance(error, AuthorizationError) or error.code is Code.INVALID_ARGUMENT
        return Failure(error.message, permanent)
    _logger.error("unexpected error in the watch of %s", what, exc_info=error)
    return Failure(repr(error), permanent=True)
