"""The default URL selector: shares by weight, bent by load. Pure: time and randomness are arguments."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Collection, Sequence
from itertools import accumulate
from math import ceil, inf
from typing import TYPE_CHECKING, TypeAlias

from meshcore.core.call import CALLER_KEY
from meshcore.traffic.peak_ewma import Load
from meshcore.traffic.rendezvous import key_of, ranked
from meshcore.traffic.url_selector import URLSelector, weighted

if TYPE_CHECKING:
    from meshcore.core.call import Call
    from meshcore.core.instances import Endpoint
    from meshcore.traffic.outcome import Outcome

_OTHER_ZONE_FACTOR = 2.0
"""An endpoint of another zone is chosen if the best candidate of the caller's own zone has calls in flight and more
than this many times its load. So calls stay in their zone until that is overloaded, and only the surplus leaves it."""

_AFFINITY_BOUND = 1.25
"""With affinity, an endpoint gets at most this many times the average of the calls in flight, so that one frequent key
cannot overload its instance (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016)."""

_GOLDEN = (5**0.5 - 1) / 2
"""Its multiples are spread evenly from 0 to 1, whatever their number. So each endpoint is compared as often as it
should be among a few calls, which chance would give it only among many."""

_RAMP_STEP = 0.1
"""Seconds for which the shares of new endpoints are computed in advance."""

_Candidate: TypeAlias = "tuple[Endpoint, Load]"


class LeastLoadedURLSelector(URLSelector):
    """Gives each endpoint its share of the calls, unless it is clearly more loaded than another one.

    Of two random endpoints, the one that is further behind its share gets the call, unless its load clearly exceeds
    that of the other. The load is the recent latency, which rises within a few calls and falls slowly, times the calls
    in flight. So slow, hanging and refusing endpoints get fewer calls, and equal ones get equal shares, as from round
    robin. One that failed rests for half a second, and longer for each failure in a row. The share of an endpoint is
    its weight, and a part of that while it is new. Endpoints of the caller's own zone are preferred until they are
    overloaded. Only two endpoints are compared: otherwise all clients would send their calls to the same least loaded
    one. Calls with `@affinity` go to the endpoint of their argument.

    Args:
        rng: the random generator.
        zone: the caller's zone, empty for none.
        slow_start: seconds in which the share of a new endpoint grows to its full size.

    Attributes:
        now: the time of the latest choice.
    """

    def __init__(self, rng: random.Random | None = None, zone: str = "", slow_start: float = 10.0) -> None:
        self._rng = rng or random.Random()
        self._zone = zone
        self._slow_start = slow_start
        self._loads: dict[str, Load] = {}
        self._all = _Group()
        self._only: _Candidate | None = None  # if there is one, and so no choice
        self._home = _Group()
        self._away = _Group()
        self.now = -inf
        self._chance = self._rng.random()

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Take over a new set of endpoints. New ones start slowly, unless there were none before."""
        known = self._loads
        born = now if known else -inf
        turn = max((load.turn for load in known.values()), default=0.0)
        candidates: list[_Candidate] = []
        for each in weighted(endpoints):
            load = known.get(each.instance)
            if load is None:
                load = Load(each.weight, born, self._slow_start)
                load.turn = turn
            load.weight = each.weight
            candidates.append((each, load))
        self._loads = {endpoint.instance: load for endpoint, load in candidates}
        self._all = _Group(candidates)
        self._only = candidates[0] if len(candidates) == 1 else None
        home = [each for each in candidates if self._zone and each[0].zone == self._zone]
        self._home = _Group(home)
        self._away = _Group([each for each in candidates if each[0].zone != self._zone] if home else [])

    def load(self, instance: str) -> Load:
        """The load of an instance."""
        return self._loads[instance]

    def share(self, instance: str, now: float) -> float:
        """The share of the calls that an instance gets by its weight and its slow start, if load does not bend it."""
        shares = {name: load.weight * load.ramp(now) for name, load in self._loads.items()}
        return shares[instance] / sum(shares.values())

    def remark(self, instance: str, now: float) -> str:
        """What bends the share of an instance, empty if nothing does."""
        load = self._loads[instance]
        if load.rests(now):
            return f"rests for {load.rests(now):.1f} s, as a call failed"
        if load.silent(now):
            return f"has answered nothing for {load.silent(now):.1f} s and gets fewer calls"
        if any(load.is_slower(other, now) for other in self._loads.values()):
            return "is slower than another one and gets fewer calls"
        ramp = load.ramp(now)
        return f"is new and gets {ramp:.0%} of its share" if ramp < 1.0 else ""

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        """The endpoint that is further behind its share, or less loaded, of two that were not tried."""
        self.now = now
        if self._only is not None and not tried:  # saves 0.15 us: without a choice, no turns have to be counted
            return self._only[0]
        method = call.method
        # Most methods have neither: to ask here saves the call of a function.
        if (method.affinity is not None or method.idempotency_key is not None) and has_affinity(call):
            return self._by_affinity(call, tried)
        if not self._away.candidates:
            chosen = self._better_of_two(self._all, tried, now)
        else:
            chosen = self._better_of_two(self._home, tried, now)
            if chosen is None or chosen[1].pending or chosen[1].unfit(now):
                other = self._better_of_two(self._away, tried, now)
                if chosen is None or (other is not None and _leaves_zone(chosen[1], other[1], now)):
                    chosen = other
        if chosen is None:
            return None
        endpoint, load = chosen
        load.take(now)
        return endpoint

    def _better_of_two(self, group: _Group, tried: Collection[str], now: float) -> _Candidate | None:
        candidates = group.candidates
        sums = group.sums if now < group.until else group.shares(now)
        if tried:
            candidates = [each for each in candidates if each[0].instance not in tried]
            sums = _shares(candidates, now) if sums else None
        count = len(candidates)
        if count < 2:  # noqa: PLR2004 - there is no choice
            return candidates[0] if count else None
        chance = self._chance = (self._chance + _GOLDEN) % 1.0
        at = int(chance * count) if sums is None else min(bisect(sums, chance * sums[-1]), count - 1)
        other = int(self._rng.random() * (count - 1))
        other += other >= at
        first, second = candidates[at], candidates[other]
        if second[1].turn < first[1].turn:
            first, second = second, first
        ours, theirs = first[1], second[1]
        ours.keep_up(theirs, now)
        if ours.unfit(now):
            ours.pass_over(theirs)
            if not theirs.unfit(now):
                return second
            return min(
                candidates, key=lambda each: (each[1].unfit(now), each[1].pending / each[1].weight, each[1].turn)
            )
        return second if not theirs.unfit(now) and ours.yields(theirs, now) else first

    def _by_affinity(self, call: Call, tried: Collection[str]) -> Endpoint | None:
        left = [each for each, _ in self._all.candidates if each.instance not in tried]
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
        """Count one more call in flight. It follows the choice at once, so it needs no time of its own."""
        load = self._loads.get(endpoint.instance)
        if load is not None:
            load.begin(self.now)

    def end(self, endpoint: Endpoint, outcome: Outcome, seconds: float, now: float) -> None:
        """Update the load of the endpoint."""
        load = self._loads.get(endpoint.instance)
        if load is not None:
            load.end(outcome, seconds, now)


class _Group:
    """Endpoints among which one is chosen.

    Attributes:
        candidates: with their loads.
        sums: what `shares` returned last.
        until: the time until which it returns the same.
    """

    def __init__(self, candidates: Sequence[_Candidate] = ()) -> None:
        self.candidates = candidates
        self.sums: list[float] | None = None
        self.until = -inf

    def shares(self, now: float) -> list[float] | None:
        """The sums of the shares of the endpoints, None if they are equal."""
        if now >= self.until:
            self.sums = _shares(self.candidates, now)
            growing = any(load.ramp(now) < 1.0 for _, load in self.candidates)
            self.until = now + _RAMP_STEP if growing else inf
        return self.sums


def _shares(candidates: Sequence[_Candidate], now: float) -> list[float] | None:
    shares = [load.weight * load.ramp(now) for _, load in candidates]
    return list(accumulate(shares)) if len(set(shares)) > 1 else None


def _leaves_zone(home: Load, away: Load, now: float) -> bool:
    """Whether a call leaves its zone."""
    if away.unfit(now):
        return False
    return home.unfit(now) or home.value(now) > _OTHER_ZONE_FACTOR * away.value(now)


def has_affinity(call: Call) -> bool:
    """Whether a value of the call decides who is asked. A key of the caller's own is known to one instance only."""
    method = call.method
    return method.affinity is not None or (method.idempotency_key is not None and CALLER_KEY in call.headers)
