"""The base of URL selectors, which choose the endpoint of an attempt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from meshcore.core.call import Call
    from meshcore.core.instances import Endpoint
    from meshcore.traffic.outcome import Outcome


class URLSelector(ABC):
    """Chooses the endpoint of an attempt. Each channel of each component has a selector of its own."""

    @abstractmethod
    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Take over a new set of endpoints. Those that stay keep their history."""

    @abstractmethod
    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        """The endpoint for the next attempt, None if the instance ids of all are in `tried`."""

    def begin(self, endpoint: Endpoint) -> None:  # noqa: B027 - not every selector needs it
        """Called when an attempt is sent to an endpoint."""

    def end(self, endpoint: Endpoint, outcome: Outcome, seconds: float, now: float) -> None:  # noqa: B027
        """Called when an attempt has ended, once for each call of `begin`."""


def weighted(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Those that take calls: the others have the weight 0."""
    return tuple(each for each in endpoints if each.weight > 0)
