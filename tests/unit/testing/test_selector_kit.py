"""Every selector of the distribution keeps the contract of URL selectors, and the kit notices those that do not."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from meshcore.testing import check_selector
from meshcore.traffic.outcome import Outcome


@pytest.mark.parametrize(
    ("make", "fair"),
    [
        (FirstURLSelector, False),
        (RoundRobinURLSelector, True),
        (lambda: RandomURLSelector(random.Random(1)), True),
        (lambda: LeastLoadedURLSelector(random.Random(1)), True),
        (lambda: PolicyURLSelector(random.Random(1)), True),
    ],
    ids=["first", "round-robin", "random", "least-loaded", "policy"],
)
def test_installed_selectors_conform(make: Callable[[], URLSelector], fair: bool) -> None:  # noqa: FBT001
    """Each selector of the distribution keeps all clauses."""
    for seed in range(3):
        check_selector(make, fair=fair, seed=seed)


@given(st.integers())
def test_traffic_of_any_seed(seed: int) -> None:
    """Hypothesis may choose the traffic, as the kit's page says."""
    check_selector(RoundRobinURLSelector, seed=seed, steps=50, fair=False)
    check_selector(lambda: LeastLoadedURLSelector(random.Random(seed)), seed=seed, steps=50, fair=False)


class Plain(URLSelector):
    """In turn, by a cursor that is fit for any list."""

    def __init__(self) -> None:
        self.endpoints: tuple[Endpoint, ...] = ()
        self.at = 0

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        self.endpoints = endpoints

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        self.at += 1
        left = [endpoint for endpoint in self.endpoints if endpoint.instance not in tried]
        return left[self.at % len(left)] if left else None


class Cursor(Plain):
    """Holds a cursor into a list that can shrink."""

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        if all(endpoint.instance in tried for endpoint in self.endpoints):
            return None
        chosen = self.endpoints[self.at]
        self.at = (self.at + 1) % len(self.endpoints)
        return chosen


class Stubborn(Plain):
    """Does not look at what was tried."""

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        return super().select(call, (), now) if super().select(call, tried, now) else None


class Nostalgic(Plain):
    """Keeps the first address of an instance."""

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        known = {endpoint.instance: endpoint for endpoint in self.endpoints}
        self.endpoints = tuple(known.get(endpoint.instance, endpoint) for endpoint in endpoints)


class Lazy(Plain):
    """Gives up when the first was tried."""

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        return next((each for each in self.endpoints[:1] if each.instance not in tried), None)


class Favouring(Plain):
    """Asks the second only when it has to."""

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        return next((each for each in self.endpoints if each.instance not in tried), None)


class Forgetting(Plain):
    """Counts calls by instance, and expects each to be there when they end."""

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        super().update(endpoints, now)
        self.pending = dict.fromkeys((endpoint.instance for endpoint in endpoints), 0)

    def begin(self, endpoint: Endpoint) -> None:
        self.pending[endpoint.instance] += 1

    def end(self, endpoint: Endpoint, outcome: Outcome, seconds: float, now: float) -> None:
        self.pending[endpoint.instance] -= 1


class Grudging(Plain):
    """Never asks an instance again that has failed once."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: set[str] = set()

    def select(self, call: Call, tried: Collection[str], now: float) -> Endpoint | None:
        return super().select(call, {*tried, *self.failed}, now)

    def end(self, endpoint: Endpoint, outcome: Outcome, seconds: float, now: float) -> None:
        if outcome is Outcome.FAILED:
            self.failed.add(endpoint.instance)


def test_a_selector_of_ones_own_conforms() -> None:
    """One that an author may write passes."""
    check_selector(Plain)


@pytest.mark.parametrize(
    ("broken", "clause"),
    [
        (Cursor, "There is a choice, however the snapshot has changed|What was tried is not chosen again"),
        (Stubborn, "What was tried is not chosen again"),
        (Nostalgic, "The choice is of the last snapshot"),
        (Lazy, "None means that no instance is left"),
        (Favouring, "Instances that are alike get like shares"),
        (Forgetting, "Attempts end in any order, also at instances that are gone"),
        (Grudging, "None means that no instance is left"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_kit_notices(broken: type[URLSelector], clause: str) -> None:
    """A selector that breaks a clause fails with the clause's sentence, its own name and the last steps."""
    with pytest.raises(AssertionError, match=clause) as found:
        check_selector(broken)
    assert str(found.value).startswith(f"{broken.__name__} breaks the contract. ")
    assert "The last steps: " in str(found.value)


def test_the_same_seed_is_the_same_traffic() -> None:
    """What was found once is found again."""
    texts = []
    for _ in range(2):
        with pytest.raises(AssertionError) as found:
            check_selector(Cursor, seed="any")
        texts.append(str(found.value))
    assert texts[0] == texts[1]
