"""URL selectors: choose the endpoint of an attempt (load balancing). Pure: time and randomness are arguments."""

from __future__ import annotations

import random
from bisect import bisect
from heapq import heapify, heappop, heappush
from itertools import accumulate
from typing import TYPE_CHECKING

from meshcore.traffic.least_loaded import LeastLoadedURLSelector, has_affinity
from meshcore.traffic.url_selector import URLSelector, weighted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from meshcore.core.call import Call
    from meshcore.core.instances import Endpoint


class FirstURLSelector(URLSelector):
    """Chooses the first endpoint, in the order of instance ids, that this call has not tried."""

    def __init__(self) -> None:
        self._endpoints: tuple[Endpoint, ...] = ()

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:  # noqa: ARG002
        """Take over a new set of endpoints."""
        self._endpoints = weighted(endpoints)

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:  # noqa: ARG002
        """The first endpoint that was not tried."""
        return next((endpoint for endpoint in self._endpoints if endpoint.instance not in tried), None)


class RoundRobinURLSelector(URLSelector):
    """Chooses the endpoints in turn. Twice the weight means twice as many turns.

    The counts of two endpoints with the same weight never differ by more than one, even while others come and go.
    """

    def __init__(self) -> None:
        # A heap: calls divided by the weight; the number of the latest choice, so that of two with the same count the
        # one that was chosen longest ago is next; the endpoint.
        self._queue: list[tuple[float, int, Endpoint]] = []
        self._choices = 0

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:  # noqa: ARG002
        """Take over a new set of endpoints. New ones queue at the end, so that a flapping one is not preferred."""
        known = {endpoint.instance: (turn, choice) for turn, choice, endpoint in self._queue}
        last = max((turn for turn, _ in known.values()), default=0.0)
        queue: list[tuple[float, int, Endpoint]] = []
        for endpoint in weighted(endpoints):
            turn, choice = known.get(endpoint.instance, (last, self._choices + 1))
            self._choices = max(self._choices, choice)
            queue.append((turn, choice, endpoint))
        heapify(queue)
        self._queue = queue

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:  # noqa: ARG002
        """The next endpoint that was not tried."""
        queue = self._queue
        passed: list[tuple[float, int, Endpoint]] = []
        while queue:
            turn, choice, endpoint = heappop(queue)
            if endpoint.instance not in tried:
                self._choices += 1
                heappush(queue, (turn + 1.0 / endpoint.weight, self._choices, endpoint))
                for lower, choice_before, each in passed:  # turns that could not be taken are lost, all but one
                    heappush(queue, (max(lower, turn), choice_before, each))
                return endpoint
            passed.append((turn, choice, endpoint))
        self._queue = passed  # in order, so it is a heap
        return None


_STRATA = 64


class RandomURLSelector(URLSelector):
    """Chooses a random endpoint. Twice the weight means twice as many calls.

    Each choice is random, and chance is spread evenly over each 64 choices. So the shares of the calls are close to the
    weights after a few hundred calls, and not only after ten thousand.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._endpoints: tuple[Endpoint, ...] = ()
        self._sums: list[int] = []
        self._strata: list[int] = []

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:  # noqa: ARG002
        """Take over a new set of endpoints."""
        self._endpoints = weighted(endpoints)
        self._sums = list(accumulate(endpoint.weight for endpoint in self._endpoints))

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:  # noqa: ARG002
        """A random endpoint that was not tried."""
        endpoints: Sequence[Endpoint] = self._endpoints
        sums = self._sums
        if tried:
            endpoints = [endpoint for endpoint in endpoints if endpoint.instance not in tried]
            sums = list(accumulate(endpoint.weight for endpoint in endpoints))
        if not sums:
            return None
        if not self._strata:
            self._strata = self._rng.sample(range(_STRATA), _STRATA)
        chance = (self._strata.pop() + self._rng.random()) / _STRATA
        return endpoints[min(bisect(sums, chance * sums[-1]), len(endpoints) - 1)]


class PolicyURLSelector(LeastLoadedURLSelector):
    """Chooses by the field `balance` of each call's policy. The default of all channels.

    It is itself the selector for "least-loaded", and counts the calls of the others, too: to pass each call on to
    another object would take 0.3 us.
    """

    def __init__(self, rng: random.Random | None = None, zone: str = "", slow_start: float = 10.0) -> None:
        super().__init__(rng, zone, slow_start)
        self._others: dict[str, URLSelector] = {
            "round-robin": RoundRobinURLSelector(),
            "first": FirstURLSelector(),
            "random": RandomURLSelector(rng),
        }

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Take over a new set of endpoints."""
        super().update(endpoints, now)
        for selector in self._others.values():
            selector.update(endpoints, now)

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        """The choice of the policy's selector. `@affinity` and `with_key` take precedence over the policy."""
        balance = call.rules.balance
        if balance == "least-loaded" or has_affinity(call):
            return super().select(call, tried, now)
        self.now = now
        return self._others[balance].select(call, tried, now)
