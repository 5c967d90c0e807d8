"""URL selectors: pure choices of an endpoint for one call, without a cursor into a list that may change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from meshcore.call import Call
    from meshcore.instances import Endpoint


class URLSelector(ABC):
    """Picks the endpoint for one call. One selector belongs to one channel of one component."""

    @abstractmethod
    def update(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Take over a new snapshot; endpoints that are in both keep their history."""

    @abstractmethod
    def select(self, call: Call, tried: Collection[str]) -> Endpoint | None:
        """The endpoint to ask next, None if all are in `tried` (instance ids) or there is none."""


class FirstURLSelector(URLSelector):
    """Always the first endpoint (by instance id) that this call has not tried."""

    def __init__(self) -> None:
        self._endpoints: tuple[Endpoint, ...] = ()

    def update(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Take over a new snapshot."""
        self._endpoints = endpoints

    def select(self, call: Call, tried: Collection[str]) -> Endpoint | None:  # noqa: ARG002
        """The first that was not tried."""
        return next((endpoint for endpoint in self._endpoints if endpoint.instance not in tried), None)


class RoundRobinURLSelector(URLSelector):
    """The endpoint that was chosen longest ago.

    Of two endpoints that are both there, neither is chosen twice before the other is chosen once, however many
    others come and go meanwhile: their counts never differ by more than one.
    """

    def __init__(self) -> None:
        # By instance id, the one chosen longest ago first. An OrderedDict because moving an entry to its end is O(1);
        # a dict would collect deleted entries at its front.
        self._queue: OrderedDict[str, Endpoint] = OrderedDict()

    def update(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Take over a new snapshot; newcomers queue at the end, so that a flapping one is not preferred."""
        current = {endpoint.instance: endpoint for endpoint in endpoints}
        for instance in [instance for instance in self._queue if instance not in current]:
            del self._queue[instance]
        self._queue.update(current)

    def select(self, call: Call, tried: Collection[str]) -> Endpoint | None:  # noqa: ARG002
        """The one chosen longest ago that was not tried."""
        for instance, endpoint in self._queue.items():
            if instance not in tried:
                self._queue.move_to_end(instance)
                return endpoint
        return None
