"""What the watch of a service and the watch of a key prefix have in common. Does no I/O.

    INIT --answer--> LIVE --error--> STALE --answer--> LIVE
                                       ^--error--'

After a restart, Consul may answer before everything is registered or written again. So what vanishes while a server may
have restarted is kept for a while. `service_watch` and `key_watch` decide what is kept, and for how long.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from .blocking_query import BlockingQuery, Query

if TYPE_CHECKING:
    import random

T = TypeVar("T")

HOLD = (10.0, 15.0)
"""How long something that vanished in a restart of Consul is kept: longer than processes need to register again."""


class State(Enum):
    """The state of a watch."""

    INIT = "init"
    LIVE = "live"
    STALE = "stale"


class Unreachable(msgspec.Struct, frozen=True):
    """Publish that Consul cannot be read. What was published before stays in use.

    Attributes:
        cause: the error, for people.
        permanent: retries will not mend it.
    """

    cause: str
    permanent: bool = False


class Watch(Generic[T]):
    """Call `query`, send the request, report its outcome to `answered` or `failed`, and repeat.

    Both return what to publish, or None if nothing has changed.

    Attributes:
        state: its state.
        requests: its blocking query.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.state = State.INIT
        self.requests = BlockingQuery(rng)
        self._kept_until: dict[str, float] = {}  # what vanished in a restart, and until when it is kept
        self._published: T | Unreachable | None = None

    def query(self, now: float) -> Query:
        """Return the next request. Its wait ends in time to drop what is kept."""
        return self.requests.query(now, min(self._kept_until.values(), default=inf))

    def failed(self, now: float, cause: str, *, permanent: bool = False) -> Unreachable | None:
        """Report that no answer came, or one with another status than 200.

        Args:
            now: the time.
            cause: the error, for people.
            permanent: retries will not mend it.
        """
        self.requests.failed(now, permanent=permanent)
        self.state = State.STALE
        if isinstance(self._published, Unreachable) and self._published.permanent == permanent:
            return None  # the first error of its kind is enough
        self._published = Unreachable(cause, permanent)
        return self._published

    def _publish(self, found: T) -> T | None:
        if found == self._published:
            return None
        self._published = found
        return found
