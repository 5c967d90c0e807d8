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
from meshcore.traffic.peak_ewma import DECAY, FIRST_REST, GIVEN_UP_FACTOR, LONG, LONGEST_REST, RISE, Load
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


def loaded(*latencies: float, now: float = 0.0, weight: int = 1) -> Load:
    """An instance that answered calls after so long, one after the other."""
    load = Load(weight)
    for seconds in latencies:
        load.begin(now)
        load.end(Outcome.SUCCEEDED, seconds, now)
    return load


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(1e-6, 10)), min_size=2, max_size=50))
def test_a_cost_stays_within_what_was_seen(seen: list[tuple[float, float]]) -> None:
    """The cost is at most the greatest latency, and decays."""
    load, now = Load(), 0.0
    for seconds, latency in seen:
        now += seconds
        load.begin(now)
        load.end(Outcome.SUCCEEDED, latency, now)
        assert load.cost(now) <= max(latency for _, latency in seen) * (1 + 1e-9)
    assert load.cost(now) >= min(latency for _, latency in seen) * (1 - 1e-9)
    assert 0 < load.cost(now + DECAY) < load.cost(now)


def test_a_first_call_and_one_slow_call_are_chance() -> None:
    """The first finds caches empty; of others, the third slow one in a row counts, and each that follows."""
    assert loaded(9.0).cost(0.0) == 0.0
    assert loaded(9.0, 0.01).cost(0.0) == 0.01
    assert loaded(0.01, 0.01, 5.0, 0.01, 5.0, 5.0, 0.01).cost(0.0) == pytest.approx(0.01)
    slow = loaded(0.01, 0.01, 0.1, 0.1, 0.1)
    assert slow.cost(0.0) == pytest.approx(0.01 + RISE * 0.09)
    for _ in range(5):
        slow.end(Outcome.SUCCEEDED, 0.1, 0.0)
    assert slow.cost(0.0) > 0.08
    slow.end(Outcome.SUCCEEDED, 0.01, 0.1)
    assert slow.cost(0.1) > 0.07


def test_giving_up_tells_only_so_much() -> None:
    """A call that was given up counts if it was slow already."""
    load = loaded(*[0.01] * 3)
    load.end(Outcome.IGNORABLE, 0.001, 0.0)
    assert load.cost(0.0) == pytest.approx(0.01)
    for _ in range(3):
        load.end(Outcome.IGNORABLE, 0.1, 0.0)
    assert load.cost(0.0) == pytest.approx(0.01 + RISE * (GIVEN_UP_FACTOR * 0.1 - 0.01))


def test_after_a_failure_there_is_half_a_second_of_rest_and_more_after_each_in_a_row() -> None:
    """And then one call at a time, until one succeeds."""
    load, now = loaded(*[0.01] * 5), 10.0
    for number in range(8):
        load.begin(now)
        now += 0.001
        load.end(Outcome.FAILED, 0.001, now)
        rest = min(FIRST_REST * 2**number, LONGEST_REST)
        assert load.rests(now) == pytest.approx(rest)
        assert load.unfit(now + rest * 0.99)
        now += rest * 1.01
        assert not load.unfit(now)
    load.begin(now)
    assert load.unfit(now)
    load.end(Outcome.SUCCEEDED, 0.01, now)
    assert not load.unfit(now)
    load.begin(now)
    load.end(Outcome.FAILED, 0.001, now)
    assert load.rests(now) == pytest.approx(FIRST_REST)


def test_a_call_that_succeeds_during_a_rest_ends_it() -> None:
    """It probed the instance. One that was in flight when another failed does not."""
    load = loaded(*[0.01] * 5)
    for now in (1.0, 2.0, 4.0):
        load.begin(now)
        load.end(Outcome.FAILED, 0.01, now + 0.01)
    load.begin(4.5)
    load.end(Outcome.SUCCEEDED, 0.6, 4.51)
    assert load.rests(4.51) > 1.0
    load.begin(4.5)
    load.end(Outcome.FAILED, 0.01, 4.52)
    load.begin(4.6)
    load.end(Outcome.SUCCEEDED, 0.01, 4.61)
    assert not load.rests(4.61)


def test_what_fails_together_fails_once() -> None:
    """Ten calls are in flight when the connection breaks: that is one failure."""
    load = loaded(*[0.01] * 5)
    for _ in range(10):
        load.begin(1.0)
    for _ in range(10):
        load.end(Outcome.FAILED, 0.02, 1.02)
    assert load.rests(1.02) == pytest.approx(FIRST_REST)
    assert load.pending == 0


def test_an_unknown_instance_gets_one_call_at_a_time() -> None:
    """Idle it may have one; with a call that has not ended yet it is the last choice."""
    load = Load()
    assert not load.unfit(0.0)
    load.begin(0.0)
    assert load.unfit(0.0)
    load.end(Outcome.SUCCEEDED, 0.01, 1.0)
    load.begin(1.0)
    assert not load.unfit(1.0)


def test_calls_long_in_flight_are_load() -> None:
    """An instance that has answered nothing for a while looks that slow, until it answers; an idle one does not."""
    load = loaded(*[0.001] * 5)
    assert load.cost(100.0) < 0.001
    load.begin(100.0)
    assert load.cost(100.0 + LONG / 2) < 0.001
    load.begin(100.2)
    assert load.cost(103.0) == pytest.approx(3.0)
    assert load.yields(loaded(*[0.01] * 5), 103.0)
    load.end(Outcome.SUCCEEDED, 0.001, 103.0)
    assert load.cost(103.0) < 0.01


def test_weight_shares_what_is_in_hand() -> None:
    """Three calls weigh on an instance of weight three as one does on another; idle ones are alike."""
    heavy, light = loaded(*[0.01] * 5, weight=3), loaded(*[0.01] * 5)
    assert heavy.value(0.0) == light.value(0.0)
    heavy.pending, light.pending = 3, 1
    assert heavy.value(0.0) == light.value(0.0)
    assert not heavy.yields(light, 0.0)
    assert not light.yields(heavy, 0.0)
    light.pending = 3
    assert light.yields(heavy, 0.0)


@pytest.mark.parametrize(("fast", "slow", "differ"), [(0.0002, 0.004, False), (0.001, 0.02, True), (0.1, 0.12, False)])
def test_small_differences_are_none(fast: float, slow: float, differ: bool) -> None:  # noqa: FBT001
    """A few milliseconds and a quarter are noise; twenty times as slow is not, above that."""
    one, other = loaded(*[fast] * 5), loaded(*[slow] * 5)
    assert other.yields(one, 0.0) == differ
    assert not one.yields(other, 0.0)


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
