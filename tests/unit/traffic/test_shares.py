"""Shares of the calls: by weight, by slow start, as even as round robin, and bent by load. In virtual time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from itertools import count

import pytest

from meshcore import Call, Endpoint, PolicyURLSelector
from meshcore.core.description import Method
from meshcore.core.policy import Balance, Rules
from meshcore.traffic.outcome import Outcome

pytestmark = pytest.mark.long  # they simulate hundreds of thousands of calls

METHOD = Method("shop", "look", (), None, is_async=True)
Latency = Callable[[str, random.Random], float]


class Callers:
    """Callers who make one call after the other.

    Args:
        weights: of the instances, by id.
        latency: gives the seconds of a call at an instance.
        callers: their number.
        balance: how an instance is chosen.
        seed: of all chance.

    Attributes:
        asked: who got the calls, in order.
        seconds: the latency of each.
        now: the time.
    """

    def __init__(
        self,
        weights: Mapping[str, int],
        latency: Latency,
        *,
        callers: int = 1,
        balance: Balance = "least-loaded",
        seed: int = 1,
    ) -> None:
        self.selector = PolicyURLSelector(random.Random(seed))
        self.asked: list[str] = []
        self.seconds: list[float] = []
        self.now = 0.0
        self.latency = latency
        self.failing: frozenset[str] = frozenset()
        self._rng = random.Random(f"latency {seed}")
        self._call = Call(METHOD, rules=Rules(balance=balance))
        self._under_way: list[tuple[float, int, float, Endpoint]] = []
        self._numbers = count()
        self.update(weights)
        for _ in range(callers):
            self._send()

    def update(self, weights: Mapping[str, int]) -> None:
        """Other instances are there."""
        endpoints = tuple(Endpoint(name, f"http://{name}", weight=weight) for name, weight in weights.items())
        self.selector.update(endpoints, self.now)

    def _send(self) -> None:
        endpoint = self.selector.select(self._call, (), self.now)
        assert endpoint is not None
        self.selector.begin(endpoint)
        seconds = self.latency(endpoint.instance, self._rng)
        self.asked.append(endpoint.instance)
        self.seconds.append(seconds)
        heappush(self._under_way, (self.now + seconds, next(self._numbers), self.now, endpoint))

    def run(self, calls: int = 0, until: float = 0.0) -> list[str]:
        """Who gets the next calls."""
        first = len(self.asked)
        while len(self.asked) < first + calls or self.now < until:
            self.now, _, began, endpoint = heappop(self._under_way)
            outcome = Outcome.FAILED if endpoint.instance in self.failing else Outcome.SUCCEEDED
            self.selector.end(endpoint, outcome, self.now - began, self.now)
            self._send()
        return self.asked[first:]


def steady(_: str, rng: random.Random) -> float:
    """As calls of a fast method take in a process that does little else."""
    return 0.001 * rng.lognormvariate(0, 0.5)


def with_outliers(_: str, rng: random.Random) -> float:
    """One of a hundred meets a pause of the garbage collector or of the network."""
    return 0.001 * rng.lognormvariate(0, 0.5) + (0.05 if rng.random() < 0.01 else 0.0)


def varied(_: str, rng: random.Random) -> float:
    """As calls take that do very different things."""
    return rng.expovariate(1 / 0.03)


def unevenness(asked: list[str], names: str) -> float:
    """By how much the share of an instance in any hundred calls in a row differs from an equal one, in points."""
    found = 0.0
    for name in names:
        share = asked[:100].count(name)
        shares = [share]
        for before, after in zip(asked, asked[100:], strict=False):
            share += (after == name) - (before == name)
            shares.append(share)
        found = max(found, *(abs(each - 100 / len(names)) for each in shares))
    return found


@pytest.mark.parametrize("names", ["ab", "abc", "abcde", "abcdefghij"])
@pytest.mark.parametrize("latency", [steady, with_outliers])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equal_instances_are_asked_as_evenly_as_in_turn(names: str, latency: Latency, seed: int) -> None:
    """Within five points over any hundred calls of one caller, the very first ones and single slow ones included."""
    callers = Callers(dict.fromkeys(names, 1), latency, seed=seed)
    assert unevenness(callers.run(3000), names) <= 5


def test_a_first_call_that_is_slow_changes_nothing() -> None:
    """The connection is in it, and caches are empty."""
    cold = {"a", "b"}

    def latency(name: str, rng: random.Random) -> float:
        if name == "a" and name in cold:
            cold.discard(name)
            return 0.5
        return steady(name, rng)

    assert unevenness(Callers(dict.fromkeys("ab", 1), latency).run(500), "ab") <= 5


@pytest.mark.parametrize("names", ["ab", "abc", "abcdefghij"])
@pytest.mark.parametrize("callers", [1, 8])
def test_an_instance_that_is_twenty_times_slower_gets_less_than_one_call_in_a_hundred(names: str, callers: int) -> None:
    """So the slowest of a hundred calls is one of the fast instances."""

    def latency(name: str, rng: random.Random) -> float:
        return 0.002 * rng.lognormvariate(0, 0.3) * (20 if name == "a" else 1)

    fleet = Callers(dict.fromkeys(names, 1), latency, callers=callers)
    fleet.run(500)
    del fleet.seconds[:]
    asked = fleet.run(6000)
    assert asked.count("a") < 60
    assert sorted(fleet.seconds)[int(0.99 * len(fleet.seconds))] < 0.012


@pytest.mark.parametrize("balance", ["least-loaded", "round-robin", "random"])
@pytest.mark.parametrize("weights", [{"a": 1, "b": 19}, {"a": 1, "b": 1}, {"a": 1, "b": 3}, {"a": 5, "b": 1, "c": 2}])
@pytest.mark.parametrize("callers", [1, 8, 64])
@pytest.mark.parametrize("latency", [steady, varied])
def test_weights_are_shares(balance: Balance, weights: dict[str, int], callers: int, latency: Latency) -> None:
    """Within one point over ten thousand calls of equal instances, however many callers there are."""
    asked = Counter(Callers(weights, latency, callers=callers, balance=balance).run(10_000))
    for name, weight in weights.items():
        assert asked[name] / 100 == pytest.approx(100 * weight / sum(weights.values()), abs=1.0)


def test_weights_are_shares_of_keys() -> None:
    """With affinity, too."""
    weights = {"a": 1, "b": 19, "c": 10}
    selector = PolicyURLSelector(random.Random(1))
    selector.update(tuple(Endpoint(name, f"http://{name}", weight=weight) for name, weight in weights.items()), 0.0)
    method = Method("shop", "cart", (), None, is_async=True, affinity=0)
    asked = Counter(
        chosen.instance for key in range(10_000) if (chosen := selector.select(Call(method, (key,)), (), 0.0))
    )
    for name, weight in weights.items():
        assert asked[name] / 100 == pytest.approx(100 * weight / 30, abs=1.0)


@pytest.mark.parametrize("balance", ["least-loaded", "round-robin", "random", "first"])
def test_a_weight_of_nothing_is_no_call(balance: Balance) -> None:
    """It gets none, and all calls go on elsewhere; if there is nobody else, nobody is asked."""
    callers = Callers({"a": 0, "b": 1, "c": 1}, steady, balance=balance)
    assert "a" not in callers.run(500)
    callers.update({"a": 1, "b": 1, "c": 1})
    assert "a" in callers.run(500)
    callers.update({"a": 1, "b": 0, "c": 1})
    assert "b" not in callers.run(500)[1:]
    callers.selector.update((Endpoint("a", "http://a", weight=0),), callers.now)
    assert callers.selector.select(Call(METHOD, rules=Rules(balance=balance)), (), callers.now) is None


@pytest.mark.parametrize("seed", range(5))
def test_a_new_instance_gets_a_growing_share_whatever_its_first_calls_take(seed: int) -> None:
    """A tenth at first, half after half of the time, all of it in the end; its first call is cold."""
    cold = {"b"}

    def latency(name: str, rng: random.Random) -> float:
        if name in cold:
            cold.discard(name)
            return 0.3
        return steady(name, rng)

    callers = Callers({"a": 1}, latency, seed=seed)
    callers.run(until=20.0)
    callers.update({"a": 1, "b": 1})
    shares = []
    for begin, end in ((20, 21), (21.5, 24), (24.5, 25.5), (30, 32)):
        callers.run(until=begin)
        asked = callers.run(until=end)
        shares.append(asked.count("b") / len(asked))
    whole = [0.1, 0.275, 0.5, 1.0]
    for share, ramp in zip(shares, whole, strict=True):
        assert share == pytest.approx(ramp / (1 + ramp), abs=0.04)


def test_an_instance_that_was_slow_gets_no_more_than_its_share_when_it_is_well() -> None:
    """What it did not get is not made up for."""
    slow = {"a"}

    def latency(name: str, rng: random.Random) -> float:
        return steady(name, rng) * (50 if name in slow else 1)

    callers = Callers(dict.fromkeys("abc", 1), latency)
    assert callers.run(5000).count("a") < 50
    slow.clear()
    callers.run(until=callers.now + 20.0)
    assert unevenness(callers.run(1000), "abc") <= 5


@pytest.mark.parametrize("callers", [1, 16])
def test_after_a_failed_call_an_instance_rests_for_half_a_second(callers: int) -> None:
    """And then gets its share again; while it fails, ever fewer calls."""

    def latency(name: str, rng: random.Random) -> float:
        return 10 * steady(name, rng)

    fleet = Callers(dict.fromkeys("abc", 1), latency, callers=callers)
    fleet.run(1000)
    fleet.failing = frozenset("a")
    while not fleet.selector.load("a").rests(fleet.now):
        fleet.run(1)
    failed, fleet.failing = fleet.now, frozenset()
    assert "a" not in fleet.run(until=failed + 0.49)
    assert "a" in fleet.run(until=failed + 0.6)
    assert fleet.run(3000).count("a") == pytest.approx(1000, abs=50)
    fleet.failing = frozenset("a")
    assert 0 < fleet.run(until=fleet.now + 20.0).count("a") <= 6 + 2 * callers
