"""URL selectors: choose the endpoint of an attempt (load balancing). Pure: time and randomness are arguments."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from bisect import bisect
from collections import OrderedDict
from itertools import accumulate
from math import ceil, inf
from typing import TYPE_CHECKING

from meshcore.core.call import CALLER_KEY
from meshcore.traffic.peak_ewma import Load
from meshcore.traffic.rendezvous import key_of, ranked

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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


class FirstURLSelector(URLSelector):
    """Chooses the first endpoint, in the order of instance ids, that this call has not tried."""

    def __init__(self) -> None:
        self._endpoints: tuple[Endpoint, ...] = ()

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:  # noqa: ARG002
        """Take over a new set of endpoints."""
        self._endpoints = endpoints

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:  # noqa: ARG002
        """The first endpoint that was not tried."""
        return next((endpoint for endpoint in self._endpoints if endpoint.instance not in tried), None)


class RoundRobinURLSelector(URLSelector):
    """Chooses the endpoint that was chosen longest ago.

    The counts of two endpoints never differ by more than one, even while others come and go. Weights are ignored.
    """

    def __init__(self) -> None:
        # By instance id, the one chosen longest ago first. OrderedDict moves an entry to its end in O(1); a dict would
        # collect deleted entries at its front.
        self._queue: OrderedDict[str, Endpoint] = OrderedDict()

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:  # noqa: ARG002
        """Take over a new set of endpoints. New ones queue at the end, so that a flapping one is not preferred."""
        current = {endpoint.instance: endpoint for endpoint in endpoints}
        for instance in [instance for instance in self._queue if instance not in current]:
            del self._queue[instance]
        self._queue.update(current)

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:  # noqa: ARG002
        """The endpoint chosen longest ago that was not tried."""
        for instance, endpoint in self._queue.items():
            if instance not in tried:
                self._queue.move_to_end(instance)
                return endpoint
        return None


class RandomURLSelector(URLSelector):
    """Chooses a random endpoint. Twice the weight means twice as many calls."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._endpoints: tuple[Endpoint, ...] = ()

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:  # noqa: ARG002
        """Take over a new set of endpoints."""
        self._endpoints = endpoints

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:  # noqa: ARG002
        """A random endpoint that was not tried."""
        left = [endpoint for endpoint in self._endpoints if endpoint.instance not in tried]
        return self._rng.choices(left, [endpoint.weight for endpoint in left])[0] if left else None


_EQUAL_FACTOR = 1.25
"""Loads that differ by less than this factor count as equal: the difference is noise."""

_OTHER_ZONE_FACTOR = 2.0
"""An endpoint of another zone is chosen if the best candidate of the caller's own zone has calls in flight and more
than this many times its load. So calls stay in their zone until that is overloaded, and only the surplus leaves it."""

_AFFINITY_BOUND = 1.25
"""With affinity, an endpoint gets at most this many times the average of the calls in flight, so that one frequent key
cannot overload its instance (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016)."""


class LeastLoadedURLSelector(URLSelector):
    """Chooses the less loaded of two random endpoints. Calls with `@affinity` go to the endpoint of their argument.

    The load of an endpoint is its recent latency, which rises fast and falls slowly, times its calls in flight. So
    slow, failing and refusing endpoints get fewer calls, and a new endpoint starts with few. Weights count. Endpoints
    of the caller's own zone are preferred until they are overloaded. Only two endpoints are compared: otherwise all
    clients would send their calls to the same least loaded one.

    Args:
        rng: the random generator.
        zone: the caller's zone, empty for none.
        slow_start: seconds in which the share of a new endpoint grows to its full size.
    """

    def __init__(self, rng: random.Random | None = None, zone: str = "", slow_start: float = 10.0) -> None:
        self._rng = rng or random.Random()
        self._zone = zone
        self._slow_start = slow_start
        self._endpoints: tuple[Endpoint, ...] = ()
        self._loads: dict[str, Load] = {}
        self._home: tuple[Endpoint, ...] = ()
        self._away: tuple[Endpoint, ...] = ()
        self._uniform = True

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Take over a new set of endpoints. New ones start slowly, unless there were none before."""
        known = self._loads
        born = now if known else -inf
        self._loads = {
            each.instance: known.get(each.instance) or Load(each.weight, born, self._slow_start) for each in endpoints
        }
        for each in endpoints:
            self._loads[each.instance].weight = each.weight
        self._endpoints = endpoints
        self._home = tuple(each for each in endpoints if self._zone and each.zone == self._zone)
        self._away = tuple(each for each in endpoints if each.zone != self._zone) if self._home else ()
        self._uniform = len({each.weight for each in endpoints}) < 2  # noqa: PLR2004 - all the same

    def load(self, instance: str) -> Load:
        """The load of an instance."""
        return self._loads[instance]

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        """The less loaded of two endpoints that were not tried."""
        if _has_affinity(call):
            return self._by_affinity(call, tried)
        if not self._away:
            return self._better_of_two(_without(self._endpoints, tried), now)
        home, away = _without(self._home, tried), _without(self._away, tried)
        best = self._better_of_two(home, now)
        if best is None or not away:
            return best or self._better_of_two(away, now)
        load = self._loads[best.instance]
        if load.pending:
            other = self._better_of_two(away, now)
            if other is not None and load.value(now) > _OTHER_ZONE_FACTOR * self._loads[other.instance].value(now):
                return other
        return best

    def _better_of_two(self, endpoints: Sequence[Endpoint], now: float) -> Endpoint | None:
        count = len(endpoints)
        if count < 2:  # noqa: PLR2004 - there is no choice
            return endpoints[0] if count else None
        chance = self._rng.random
        if self._uniform:
            at, other = int(chance() * count), int(chance() * (count - 1))
        else:
            sums = list(accumulate(each.weight for each in endpoints))
            at, other = bisect(sums, chance() * sums[-1]), int(chance() * (count - 1))
        other += other >= at
        first, second = endpoints[at], endpoints[other]
        better = self._loads[second.instance].value(now) * _EQUAL_FACTOR < self._loads[first.instance].value(now)
        return second if better else first

    def _by_affinity(self, call: Call, tried: Collection[str]) -> Endpoint | None:
        left = _without(self._endpoints, tried)
        if not left:
            return None
        affinity = call.method.affinity
        value = call.headers[CALLER_KEY] if affinity is None else call.arguments[affinity]
        weights = sum(each.weight for each in left)
        bound = _AFFINITY_BOUND * (sum(self._loads[each.instance].pending for each in left) + 1) / weights
        order = ranked(left, key_of(value))
        within = (each for each in order if self._loads[each.instance].pending < ceil(bound * each.weight))
        return next(within, order[0])

    def begin(self, endpoint: Endpoint) -> None:
        """Count one more call in flight."""
        load = self._loads.get(endpoint.instance)
        if load is not None:
            load.pending += 1

    def end(self, endpoint: Endpoint, outcome: Outcome, seconds: float, now: float) -> None:
        """Update the load of the endpoint."""
        load = self._loads.get(endpoint.instance)
        if load is not None:
            load.end(outcome, seconds, now)


def _has_affinity(call: Call) -> bool:
    """Whether a value of the call decides who is asked. A key of the caller's own is known to one instance only."""
    method = call.method
    return method.affinity is not None or (method.idempotency_key is not None and CALLER_KEY in call.headers)


def _without(endpoints: tuple[Endpoint, ...], tried: Collection[str]) -> Sequence[Endpoint]:
    return [each for each in endpoints if each.instance not in tried] if tried else endpoints


class PolicyURLSelector(URLSelector):
    """Chooses by the field `balance` of each call's policy. The default of all channels."""

    def __init__(self, rng: random.Random | None = None, zone: str = "", slow_start: float = 10.0) -> None:
        self.least_loaded = LeastLoadedURLSelector(rng, zone, slow_start)
        self._others: dict[str, URLSelector] = {
            "round-robin": RoundRobinURLSelector(),
            "first": FirstURLSelector(),
            "random": RandomURLSelector(rng),
        }

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Take over a new set of endpoints."""
        self.least_loaded.update(endpoints, now)
        for selector in self._others.values():
            selector.update(endpoints, now)

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        """The choice of the policy's selector. `@affinity` and `with_key` take precedence over the policy."""
        selector = self._others.get(call.rules.balance) if not _has_affinity(call) else None
        return (selector or self.least_loaded).select(call, tried, now)

    def begin(self, endpoint: Endpoint) -> None:
        """Count one more call in flight, whichever selector chose the endpoint."""
        self.least_loaded.begin(endpoint)

    def end(self, endpoint: Endpoint, outcome: Outcome, seconds: float, now: float) -> None:
        """Update the load of the endpoint, whichever selector chose it."""
        self.least_loaded.end(endpoint, outcome, seconds, now)
