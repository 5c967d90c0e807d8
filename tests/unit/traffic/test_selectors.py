"""URL selectors under random traffic, while instances come and go."""

import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshcore import (
    Call,
    Endpoint,
    FirstURLSelector,
    LeastLoadedURLSelector,
    PolicyURLSelector,
    RandomURLSelector,
    RoundRobinURLSelector,
    URLSelector,
)
from meshcore.core.description import Method
from meshcore.core.policy import Rules
from meshcore.traffic.outcome import Outcome

CALL = Call(Method("shop", "buy", (), None, is_async=True))
NAMES = st.sampled_from("abcdef")
SETS = st.frozensets(NAMES)


def endpoint(name: str, url: str = "") -> Endpoint:
    """The endpoint of an instance."""
    return Endpoint(name, url or f"http://{name}")


class Traffic(RuleBasedStateMachine):
    """What no selector may do, whatever happens."""

    def make(self) -> URLSelector:
        """The selector under test."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        """Nobody is there yet."""
        self.selector = self.make()
        self.there: dict[str, Endpoint] = {}
        self.moves = 0

    def push(self) -> None:
        """Hand over a snapshot, ordered by id as registries do."""
        self.selector.update(tuple(self.there[name] for name in sorted(self.there)), 0.0)

    @rule(name=NAMES)
    def join(self, name: str) -> None:
        """An instance comes, or comes again under another URL."""
        self.moves += 1
        self.there[name] = endpoint(name, f"http://{name}/{self.moves}")
        self.push()

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        """An instance goes."""
        self.there.pop(name, None)
        self.push()

    @rule(names=SETS)
    def replace(self, names: frozenset[str]) -> None:
        """All change at once."""
        self.there = {name: self.there.get(name, endpoint(name)) for name in names}
        self.push()

    @rule(tried=SETS)
    def select(self, tried: frozenset[str]) -> None:
        """One attempt of a call that has tried some already."""
        chosen = self.selector.select(CALL, tried, 0.0)
        left = self.there.keys() - tried
        if chosen is None:
            assert not left
        else:
            assert chosen.instance in left
            assert chosen == self.there[chosen.instance]
        self.chosen(chosen, tried)

    def chosen(self, chosen: Endpoint | None, tried: frozenset[str]) -> None:
        """What else holds for a choice."""


class FirstTraffic(Traffic):
    """The first is always the first."""

    def make(self) -> URLSelector:
        """The selector under test."""
        return FirstURLSelector()

    def chosen(self, chosen: Endpoint | None, tried: frozenset[str]) -> None:
        """It is the least id of those that were not tried."""
        left = self.there.keys() - tried
        assert (chosen and chosen.instance) == min(left, default=None)


class RoundRobinTraffic(Traffic):
    """Whoever is there all the time gets as much as any other."""

    def make(self) -> URLSelector:
        """The selector under test."""
        return RoundRobinURLSelector()

    @initialize()
    def begin_counting(self) -> None:
        """Count from here on."""
        self.counts: dict[tuple[str, str], dict[str, int]] = {}

    def push(self) -> None:
        """Pairs of which one was not there all the time begin anew."""
        super().push()
        pairs = list(combinations(sorted(self.there), 2))
        self.counts = {pair: self.counts.get(pair, dict.fromkeys(pair, 0)) for pair in pairs}

    def chosen(self, chosen: Endpoint | None, tried: frozenset[str]) -> None:
        """Count it, unless a call had tried somebody: then it was no free choice."""
        if tried & self.there.keys():
            self.counts = {pair: dict.fromkeys(pair, 0) for pair in self.counts}
        elif chosen is not None:
            for counts in self.counts.values():
                if chosen.instance in counts:
                    counts[chosen.instance] += 1

    @invariant()
    def fair(self) -> None:
        """Of two that are there all the time, their counts differ by at most one."""
        for counts in getattr(self, "counts", {}).values():
            assert max(counts.values()) - min(counts.values()) <= 1


class RandomTraffic(Traffic):
    """Any of those that are left."""

    def make(self) -> URLSelector:
        """The selector under test."""
        return RandomURLSelector(random.Random(1))


class LeastLoadedTraffic(Traffic):
    """The least loaded of two, while attempts begin and end."""

    def make(self) -> URLSelector:
        """The selector under test."""
        return LeastLoadedURLSelector(random.Random(1), zone="here")

    @initialize()
    def begin_calls(self) -> None:
        """None is under way."""
        self.under_way: list[Endpoint] = []

    def chosen(self, chosen: Endpoint | None, tried: frozenset[str]) -> None:
        """Send it."""
        if chosen is not None:
            self.selector.begin(chosen)
            self.under_way.append(chosen)

    @precondition(lambda self: self.under_way)
    @rule(at=st.integers(0, 50), outcome=st.sampled_from(Outcome), seconds=st.floats(0, 10))
    def end(self, at: int, outcome: Outcome, seconds: float) -> None:
        """One of them ends, perhaps when its instance is gone, or gone and back."""
        self.selector.end(self.under_way.pop(at % len(self.under_way)), outcome, seconds, 1.0 * self.moves)

    @invariant()
    def counts_what_is_under_way(self) -> None:
        """No instance has fewer calls in hand than none, nor more than were sent to it."""
        for name in getattr(self, "there", ()):
            pending = self.selector.load(name).pending
            assert 0 <= pending <= sum(each.instance == name for each in self.under_way)


class PolicyTraffic(LeastLoadedTraffic):
    """What channels use."""

    def make(self) -> URLSelector:
        """The selector under test."""
        return PolicyURLSelector(random.Random(1))


TestFirst = FirstTraffic.TestCase
TestRandom = RandomTraffic.TestCase
TestLeastLoaded = LeastLoadedTraffic.TestCase
TestPolicy = PolicyTraffic.TestCase
TestRoundRobin = RoundRobinTraffic.TestCase


@pytest.mark.parametrize(
    "selector",
    [
        FirstURLSelector(),
        RoundRobinURLSelector(),
        RandomURLSelector(),
        LeastLoadedURLSelector(),
        LeastLoadedURLSelector(zone="here"),
        PolicyURLSelector(),
    ],
    ids=["first", "round robin", "random", "least loaded", "least loaded in a zone", "by policy"],
)
def test_nobody_is_there(selector: URLSelector) -> None:
    """Before the first snapshot and after everybody left there is no endpoint."""
    assert selector.select(CALL, (), 0.0) is None
    selector.update((endpoint("a"),), 0.0)
    selector.update((), 0.0)
    assert selector.select(CALL, (), 0.0) is None


def test_round_robin_in_turn() -> None:
    """Each in turn; a newcomer queues at the end, and one that left is skipped without a gap."""
    selector = RoundRobinURLSelector()
    a, b, c = endpoint("a"), endpoint("b"), endpoint("c")
    selector.update((a, b), 0.0)
    assert [selector.select(CALL, (), 0.0) for _ in range(3)] == [a, b, a]
    selector.update((a, b, c), 0.0)
    assert [selector.select(CALL, (), 0.0) for _ in range(4)] == [b, a, c, b]
    selector.update((b, c), 0.0)
    assert [selector.select(CALL, (), 0.0) for _ in range(3)] == [c, b, c]


def test_a_flapping_instance_gets_no_more_than_others() -> None:
    """One that comes and goes between calls is not preferred: it queues anew each time."""
    selector = RoundRobinURLSelector()
    names = []
    for _ in range(4):
        selector.update((endpoint("a"), endpoint("b")), 0.0)
        selector.update((endpoint("a"), endpoint("b"), endpoint("flap")), 0.0)
        chosen = selector.select(CALL, (), 0.0)
        assert chosen is not None
        names.append(chosen.instance)
    assert names == ["a", "b", "a", "b"]


# --- Least loaded -----------------------------------------------------------------------------------------------------


def answering(selector: URLSelector, seconds: dict[str, float], calls: int, call: Call = CALL) -> Counter[str]:
    """Calls one after the other, each answered after what its instance takes; how many each got."""
    now, counts = 0.0, Counter[str]()
    for _ in range(calls):
        chosen = selector.select(call, (), now)
        assert chosen is not None
        selector.begin(chosen)
        now += seconds[chosen.instance]
        selector.end(chosen, Outcome.SUCCEEDED, seconds[chosen.instance], now)
        counts[chosen.instance] += 1
    return counts


def least_loaded(*endpoints: Endpoint, zone: str = "") -> LeastLoadedURLSelector:
    """A selector that has seen these from the start."""
    selector = LeastLoadedURLSelector(random.Random(1), zone)
    selector.update(endpoints, 0.0)
    return selector


def test_a_slow_instance_gets_few_calls() -> None:
    """One that is ten times slower is asked now and then, so that its recovery is noticed; like ones share evenly."""
    counts = answering(least_loaded(*map(endpoint, "abc")), {"a": 0.01, "b": 0.0105, "c": 0.1}, 3000)
    assert counts["c"] < 30
    assert 0.8 < counts["a"] / counts["b"] < 1.25


def test_calls_stay_in_their_zone_until_it_has_too_much_to_do() -> None:
    """At home as long as it is not twice as loaded as elsewhere; and elsewhere if nobody is at home."""
    home = [Endpoint(name, f"http://{name}", zone="here") for name in "ab"]
    away = [Endpoint(name, f"http://{name}", zone="there") for name in "cd"]
    selector = least_loaded(*home, *away, zone="here")
    seconds = dict.fromkeys("abcd", 0.01)
    assert answering(selector, seconds, 100).keys() == {"a", "b"}
    for each in (*away, *home) * 3:
        selector.begin(each)
        selector.end(each, Outcome.SUCCEEDED, 0.01, 1.0)
    chosen = []
    for _ in range(20):  # none of them is answered
        each = selector.select(CALL, (), 1.0)
        assert each is not None
        selector.begin(each)
        chosen.append(each.zone)
    assert chosen[:2] == ["here", "here"]
    assert chosen.count("there") > 4
    assert selector.select(CALL, ("a", "b"), 1.0) in away


def test_affinity_keeps_a_key_where_it_is() -> None:
    """The same argument leads every client to the same instance; a favourite spills over when it is too much."""
    method = Method("shop", "cart", (), None, is_async=True, affinity=0)
    names = "abcdefgh"
    one, other = least_loaded(*map(endpoint, names)), least_loaded(*map(endpoint, names))
    seconds = dict.fromkeys(names, 0.01)
    for key in range(50):
        call = Call(method, (f"customer-{key}",))
        counts = answering(one, seconds, 5, call)
        assert len(counts) == 1
        assert counts == answering(other, seconds, 5, call)
    call = Call(method, ("favourite",))
    for _ in range(80):  # none of them is answered
        chosen = one.select(call, (), 0.0)
        assert chosen is not None
        one.begin(chosen)
    in_hand = [one.load(name).pending for name in names]
    assert sum(in_hand) == 80
    assert max(in_hand) <= 1.25 * 80 / 8 + 1


def test_a_key_of_the_callers_own_stays_where_it_is() -> None:
    """Only the instance that has executed the call knows its key; the mesh's keys are spread like other calls."""
    method = Method("shop", "buy", (), None, is_async=True, idempotency_key=60.0)
    seconds = dict.fromkeys("abcdefgh", 0.01)
    for rules in (Rules(), Rules(balance="round-robin")):
        one, other = PolicyURLSelector(random.Random(1)), PolicyURLSelector(random.Random(2))
        for selector in (one, other):
            selector.update(tuple(map(endpoint, "abcdefgh")), 0.0)
        used: set[str] = set()
        for key in range(20):
            call = Call(method, headers={"idempotency-key": f"order-{key}"}, rules=rules)
            counts = answering(one, seconds, 5, call)
            assert len(counts) == 1
            assert counts == answering(other, seconds, 5, call)
            used.update(counts)
        assert len(used) > 4
        assert len(answering(one, seconds, 40, Call(method, headers={"mesh-idempotency-key": "a"}, rules=rules))) > 4


def test_a_policy_chooses_the_selector() -> None:
    """The rules of a call say how its instance is picked."""
    selector = PolicyURLSelector(random.Random(1))
    selector.update(tuple(map(endpoint, "abc")), 0.0)
    seconds = dict.fromkeys("abc", 0.01)
    first = Call(CALL.method, rules=Rules(balance="first"))
    in_turn = Call(CALL.method, rules=Rules(balance="round-robin"))
    assert answering(selector, seconds, 9, first) == {"a": 9}
    assert answering(selector, seconds, 9, in_turn) == {"a": 3, "b": 3, "c": 3}
    assert len(answering(selector, seconds, 50)) == 3
