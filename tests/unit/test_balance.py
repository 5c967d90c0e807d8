"""URL selectors under random traffic, while instances come and go."""

from itertools import combinations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshcore import Call, Endpoint, FirstURLSelector, RoundRobinURLSelector, URLSelector
from meshcore.interface import Method

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


TestFirst = FirstTraffic.TestCase
TestRoundRobin = RoundRobinTraffic.TestCase


@pytest.mark.parametrize("selector", [FirstURLSelector(), RoundRobinURLSelector()], ids=["first", "round robin"])
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
