"""The small machines of the data plane: budgets, loads, latencies, rendezvous hashing. Time is an argument."""

from __future__ import annotations

from collections import Counter
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore import Endpoint
from meshcore.traffic.budget import Budget
from meshcore.traffic.outcome import Outcome
from meshcore.traffic.peak_ewma import DECAY, GIVEN_UP_FACTOR, MIN_FAILED, RISE, UNKNOWN, Load
from meshcore.traffic.quantiles import Latency
from meshcore.traffic.rendezvous import key_of, ranked, subset

STEPS = st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300)


# --- Budget -----------------------------------------------------------------------------------------------------------


@given(STEPS, st.floats(0, 1), st.floats(0, 5))
def test_a_budget_never_grants_more_than_was_saved(
    steps: list[tuple[float, bool]], ratio: float, reserve: float
) -> None:
    """Within any ten seconds: the share of the deposits of those and the ten before, and twice the reserve."""
    budget = Budget(ratio, reserve)
    now, deposits, grants = 0.0, list[float](), list[float]()
    for seconds, withdraw in steps:
        now += seconds
        if not withdraw:
            budget.deposit(now)
            deposits.append(now)
        elif budget.withdraw(now):
            grants.append(now)
            granted = sum(now - 10 < each for each in grants)
            saved = sum(now - 21 < each for each in deposits)
            assert granted <= ratio * saved + 2 * 10 * reserve + 1e-6


def test_a_budget_is_spent_and_fills_again() -> None:
    """A fifth of a hundred calls is twenty retries; ten seconds later they can no more be spent."""
    budget = Budget(0.2, 0.0)
    assert not budget.withdraw(0.0)
    for _ in range(100):
        budget.deposit(1.0)
    assert sum(budget.withdraw(2.0) for _ in range(50)) in {19, 20}
    assert budget.available(20.0) == 0.0
    for _ in range(10):
        budget.deposit(20.0)
    assert isclose(budget.available(20.0), 2.0)


def test_the_reserve_is_there_without_any_deposit() -> None:
    """One per second means ten at once, and then no more for ten seconds."""
    budget = Budget(0.0, 1.0)
    assert sum(budget.withdraw(5.0) for _ in range(50)) == 10
    assert not budget.withdraw(12.0)
    assert budget.withdraw(16.0)


# --- Load -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(1e-6, 10)), min_size=1, max_size=50))
def test_a_cost_stays_within_what_was_seen(seen: list[tuple[float, float]]) -> None:
    """The cost lies between the least and the greatest latency, and decays."""
    load, now = Load(), 0.0
    for seconds, latency in seen:
        now += seconds
        before = load.cost(now)
        load.pending += 1
        load.end(Outcome.SUCCEEDED, latency, now)
        assert load.cost(now) <= max(latency for _, latency in seen) * (1 + 1e-9)
        assert load.cost(now) >= min(latency, before) * (1 - 1e-9)
    later = load.cost(now + DECAY)
    assert 0 < later < load.cost(now)


def test_failing_fast_looks_slow_and_giving_up_tells_only_so_much() -> None:
    """An error after a millisecond counts as a second; a call that was given up counts if it was slow already."""
    load = Load()
    load.end(Outcome.SUCCEEDED, 0.01, 0.0)
    load.end(Outcome.IGNORABLE, 0.001, 0.0)
    assert load.cost(0.0) == 0.01
    load.end(Outcome.IGNORABLE, 0.1, 0.0)
    assert load.cost(0.0) == pytest.approx(0.01 + RISE * (GIVEN_UP_FACTOR * 0.1 - 0.01))
    load.end(Outcome.FAILED, 0.001, 0.0)
    assert load.cost(0.0) == MIN_FAILED


def test_slowness_shows_within_a_few_calls_and_one_slow_call_is_chance() -> None:
    """The cost rises by a part of what a call took longer, and comes down slowly."""
    load = Load()
    load.end(Outcome.SUCCEEDED, 0.01, 0.0)
    load.end(Outcome.SUCCEEDED, 0.1, 0.0)
    assert load.cost(0.0) == pytest.approx(0.01 + RISE * 0.09)
    for _ in range(5):
        load.end(Outcome.SUCCEEDED, 0.1, 0.0)
    assert load.cost(0.0) > 0.08
    load.end(Outcome.SUCCEEDED, 0.01, 0.1)
    assert load.cost(0.1) > 0.08


def test_an_unknown_instance_gets_one_call_at_a_time() -> None:
    """Idle it is free; with a call that has not ended yet it is the last choice."""
    load = Load()
    assert load.value(0.0) == 0.0
    load.pending = 1
    assert load.value(0.0) > UNKNOWN
    load.end(Outcome.SUCCEEDED, 0.01, 1.0)
    assert load.value(1.0) == 0.01


def test_weight_shares_what_is_in_hand() -> None:
    """Three calls weigh on an instance of weight three as one does on another; idle ones are alike."""
    heavy, light = Load(weight=3), Load()
    for load in (heavy, light):
        load.end(Outcome.SUCCEEDED, 0.01, 0.0)
    assert heavy.value(0.0) == light.value(0.0)
    heavy.pending, light.pending = 3, 1
    assert heavy.value(0.0) == light.value(0.0)


def test_a_new_instance_starts_slowly() -> None:
    """At first it looks ten times as loaded as it is, then ever less so."""
    load = Load(born=100.0, slow_start=10.0)
    load.end(Outcome.SUCCEEDED, 0.01, 100.0)
    values = [load.value(at) / load.cost(at) for at in (100.0, 105.0, 110.0, 120.0)]
    assert values == [pytest.approx(10.0), pytest.approx(2.0), pytest.approx(1.0), pytest.approx(1.0)]


# --- Latency ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(1e-5, 100), min_size=50, max_size=300), st.floats(0.5, 0.999))
def test_a_quantile_is_right_within_a_tenth(seconds: list[float], share: float) -> None:
    """At least that share of the latencies is below it, and it is at most a bucket above one that was seen."""
    latency = Latency()
    for each in seconds:
        latency.observe(each)
    found = latency.quantile(share, 0.0)
    assert found is not None
    assert sum(each <= found * 1.0001 for each in seconds) >= share * len(seconds) - 1e-9
    assert any(found / 1.22 <= each <= found * 1.0001 for each in seconds)


def test_too_few_latencies_say_nothing() -> None:
    """Below fifty there is no quantile; and what is long past is forgotten."""
    latency = Latency()
    for _ in range(49):
        latency.observe(0.01)
    assert latency.quantile(0.99, 0.0) is None
    for now in (3.0, 6.0, 9.0):
        for _ in range(60):
            latency.observe(1.0)
        latency.quantile(0.99, now)
    assert latency.quantile(0.01, 9.0) == pytest.approx(1.0, rel=0.11)


# --- Rendezvous -------------------------------------------------------------------------------------------------------


def endpoints(count: int) -> list[Endpoint]:
    """Instances."""
    return [Endpoint(f"i{number}", f"http://host-{number}:8000") for number in range(count)]


def test_keys_are_spread_and_hardly_move() -> None:
    """Of 2,000 keys on ten endpoints each gets its share; when one leaves, only its own move."""
    all_of_them = endpoints(10)
    winners = {key: ranked(all_of_them, key_of(key))[0].instance for key in range(2000)}
    assert all(130 < count < 270 for count in Counter(winners.values()).values())
    left = [each for each in all_of_them if each.instance != "i3"]
    moved = [key for key, winner in winners.items() if ranked(left, key_of(key))[0].instance != winner]
    assert {winners[key] for key in moved} == {"i3"}


@given(st.text(st.characters()))
def test_any_text_is_a_key(text: str) -> None:
    """Also one that no UTF-8 has, such as a file's name that was read with half a character."""
    assert key_of(text) == key_of(text)
    assert key_of("\udc80") != key_of("\udc81")


def test_subsets_are_stable_and_together_use_all() -> None:
    """Each of 50 clients keeps 100 of 300; all are used about equally; one more instance changes little."""
    names = [f"i{number}" for number in range(300)]
    subsets = [subset(names, f"client-{number}", 100) for number in range(50)]
    assert all(len(each) == 100 for each in subsets)
    used = Counter(name for each in subsets for name in each)
    assert len(used) == 300
    assert max(used.values()) < 4 * 50 / 3
    more = [subset([*names, "new"], f"client-{number}", 100) for number in range(50)]
    assert all(len(before - after) <= 1 for before, after in zip(subsets, more, strict=True))
