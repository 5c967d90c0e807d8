"""URL selectors: pure choices of an endpoint for one call, without a cursor into a list that may change."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from bisect import bisect
from collections import OrderedDict
from itertools import accumulate
from math import ceil, inf
from typing import TYPE_CHECKING

from meshcore.traffic.peak_ewma import Load
from meshcore.traffic.rendezvous import key_of, ranked

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from meshcore.core.call import Call
    from meshcore.core.instances import Endpoint
    from meshcore.traffic.outcome import Outcome


class URLSelector(ABC):
    """Picks the endpoint for one call. One selector belongs to one channel of one component."""

    @abstractmethod
    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Take over a new snapshot; endpoints that are in both keep their history."""

    @abstractmethod
    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        """The endpoint to ask next, None if all are in `tried` (instance ids) or there is none."""

    def begin(self, endpoint: Endpoint) -> None:  # noqa: B027 - not every choice depends on what is going on
        """An attempt is sent to an endpoint."""

    def end(self, endpoint: Endpoint, outcome: Outcome, seconds: float, now: float) -> None:  # noqa: B027
        """An attempt has ended after so long. Each begun one does."""


class FirstURLSelector(URLSelector):
    """Always the first endpoint, in the order of instance ids, that this call has not tried."""

    def __init__(self) -> None:
        self._endpoints: tuple[Endpoint, ...] = ()

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:  # noqa: ARG002
        """Take over a new snapshot."""
        self._endpoints = endpoints

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:  # noqa: ARG002
        """The first that was not tried."""
        return next((endpoint for endpoint in self._endpoints if endpoint.instance not in tried), None)


class RoundRobinURLSelector(URLSelector):
    """The endpoint that was chosen longest ago.

    The counts of two endpoints never differ by more than one, however many others come and go. Weights do not count.
    """

    def __init__(self) -> None:
        # By instance id, the one chosen longest ago first. An OrderedDict because moving an entry to its end is O(1);
        # a dict would collect deleted entries at its front.
        self._queue: OrderedDict[str, Endpoint] = OrderedDict()

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:  # noqa: ARG002
        """Take over a new snapshot; newcomers queue at the end, so that a flapping one is not preferred."""
        current = {endpoint.instance: endpoint for endpoint in endpoints}
        for instance in [instance for instance in self._queue if instance not in current]:
            del self._queue[instance]
        self._queue.update(current)

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:  # noqa: ARG002
        """The one chosen longest ago that was not tried."""
        for instance, endpoint in self._queue.items():
            if instance not in tried:
                self._queue.move_to_end(instance)
                return endpoint
        return None


class RandomURLSelector(URLSelector):
    """A random endpoint; one of twice the weight is chosen twice as often."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._endpoints: tuple[Endpoint, ...] = ()

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:  # noqa: ARG002
        """Take over a new snapshot."""
        self._endpoints = endpoints

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:  # noqa: ARG002
        """Any that was not tried."""
        left = [endpoint for endpoint in self._endpoints if endpoint.instance not in tried]
        return self._rng.choices(left, [endpoint.weight for endpoint in left])[0] if left else None


_ALIKE = 1.25
"""Loads that differ by less than this factor count as equal: the difference is noise, and all would run after it."""

_ELSEWHERE = 2.0
"""An endpoint of another zone is asked when the best of two at home looks that much more loaded, and has calls in hand.
So calls stay in their zone until it has more to do than it can, and only the surplus leaves it."""

_BOUND = 1.25
"""With affinity an endpoint gets at most this many times the average of the calls in hand (Mirrokni, Thorup and
Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016): a favourite key cannot drown the instance of its own."""


class LeastLoadedURLSelector(URLSelector):
    """The less loaded of two random endpoints; for a method with `@affinity`, the one that its argument leads to.

    The load of an endpoint is its recent latency, which rises fast and falls slowly, times its calls in flight. So
    slow, failing and refusing endpoints get fewer calls, and a new endpoint starts with few. Endpoints of the caller's
    own zone are preferred until they have too much to do, and weights count. The choice is among two, since the best
    of all would be chosen by every client at once.

    Args:
        rng: chance.
        zone: the caller's; empty for none.
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
        """Take over a new snapshot; only what joins others that are there already starts slowly."""
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
        """The load of an instance of the last snapshot."""
        return self._loads[instance]

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        """The better of two that were not tried."""
        if call.method.affinity is not None:
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
            if other is not None and load.value(now) > _ELSEWHERE * self._loads[other.instance].value(now):
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
        better = self._loads[second.instance].value(now) * _ALIKE < self._loads[first.instance].value(now)
        return second if better else first

    def _by_affinity(self, call: Call, tried: Collection[str]) -> Endpoint | None:
        left = _without(self._endpoints, tried)
        if not left:
            return None
        affinity = call.method.affinity
        assert affinity is not None  # noqa: S101 - asked before
        weights = sum(each.weight for each in left)
        bound = _BOUND * (sum(self._loads[each.instance].pending for each in left) + 1) / weights
        order = ranked(left, key_of(call.arguments[affinity]))
        within = (each for each in order if self._loads[each.instance].pending < ceil(bound * each.weight))
        return next(within, order[0])

    def begin(self, endpoint: Endpoint) -> None:
        """It has one more call in hand."""
        load = self._loads.get(endpoint.instance)
        if load is not None:
            load.pending += 1

    def end(self, endpoint: Endpoint, outcome: Outcome, seconds: float, now: float) -> None:
        """Learn from it."""
        load = self._loads.get(endpoint.instance)
        if load is not None:
            load.end(outcome, seconds, now)


def _without(endpoints: tuple[Endpoint, ...], tried: Collection[str]) -> Sequence[Endpoint]:
    return [each for each in endpoints if each.instance not in tried] if tried else endpoints


class PolicyURLSelector(URLSelector):
    """Chooses as the policy of each call says: what a channel uses unless it is told otherwise."""

    def __init__(self, rng: random.Random | None = None, zone: str = "", slow_start: float = 10.0) -> None:
        self.least_loaded = LeastLoadedURLSelector(rng, zone, slow_start)
        self._others: dict[str, URLSelector] = {
            "round-robin": RoundRobinURLSelector(),
            "first": FirstURLSelector(),
            "random": RandomURLSelector(rng),
        }

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Take over a new snapshot."""
        self.least_loaded.update(endpoints, now)
        for selector in self._others.values():
            selector.update(endpoints, now)

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        """As the call's policy says. An affinity is the interface's word, which a policy does not overrule."""
        selector = self._others.get(call.rules.balance) if call.method.affinity is None else None
        return (selector or self.least_loaded).select(call, tried, now)

    def begin(self, endpoint: Endpoint) -> None:
        """Count it, also for the calls of other policies: their load is load."""
        self.least_loaded.begin(endpoint)

    def end(self, endpoint: Endpoint, outcome: Outcome, seconds: float, now: float) -> None:
        """Learn from it."""
        self.least_loaded.end(endpoint, outcome, seconds, now)
