"""The state of a blocking query, over answers, errors, falling indexes and time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.registry.consul.machines.blocking_query import (
    BACKOFF_MAX,
    BACKOFF_PERMANENT,
    BURST,
    GAP,
    WAIT,
    WAIT_FIRST,
    BlockingQuery,
)

ROUNDING = 1e-6
STEPS = st.lists(
    st.tuples(st.floats(0, 40), st.one_of(st.integers(-2, 9), st.sampled_from(["failed", "permanent"]))), max_size=30
)


@given(STEPS, st.randoms(use_true_random=False))
def test_the_index_never_goes_back_without_a_reset(steps, rng):
    """It grows, stays, or is 0 when something went wrong; waits are bounded, and each query has an end."""
    queries, now = BlockingQuery(rng), 0.0
    for seconds, step in steps:
        query = queries.query(now)
        assert query.wait == 0 if not query.index else WAIT_FIRST <= query.wait <= WAIT
        assert query.wait * 17 / 16 < query.timeout <= WAIT * 17 / 16 + 10
        now = query.at + seconds
        if isinstance(step, str):
            queries.failed(now, permanent=step == "permanent")
            assert queries.index == 0
        elif queries.answered(step):
            assert queries.index == max(step, 1) >= query.index
        else:
            assert step < query.index
            assert queries.index == 0


@given(STEPS, st.randoms(use_true_random=False))
def test_queries_keep_their_distance(steps, rng):
    """However long one looks, at most a few more than one every 50 ms; and no pause is longer than its bound."""
    queries, now, begun, longest = BlockingQuery(rng), 0.0, [], 0.0
    for seconds, step in steps:
        query = queries.query(now)
        begun.append(query.at)
        assert query.at <= now + max(longest, 2 * GAP) + ROUNDING
        for first, start in enumerate(begun):
            assert len(begun) - first <= (begun[-1] - start + ROUNDING) / GAP + 1 + BURST
        now = query.at + seconds
        longest = {"failed": BACKOFF_MAX, "permanent": BACKOFF_PERMANENT}.get(step, 0.0)
        if isinstance(step, str):
            queries.failed(now, permanent=step == "permanent")
        else:
            queries.answered(step)


def test_a_change_after_another_is_asked_for_at_once():
    """Not so in a storm; and after a quiet time again."""
    queries = BlockingQuery(random.Random(1))
    times, now = [], 10.0
    for index in range(1, 40):
        now = queries.query(now).at
        times.append(now)
        queries.answered(index)
    assert times[:2] == [10.0, 10.0]
    assert GAP <= (times[-1] - times[9]) / len(times[10:]) <= 2 * GAP
    assert [queries.query(100.0).at, queries.query(100.0).at] == [100.0, 100.0]


def test_a_query_ends_when_it_has_to():
    """To the second."""
    queries = BlockingQuery(random.Random(1))
    queries.answered(5)
    queries.answered(5)
    assert queries.query(10.0).wait == 2 * WAIT_FIRST
    assert queries.query(20.0, 22.5).wait == 2.5
    assert queries.query(30.0, 30.0).wait == 1.0


@pytest.mark.parametrize(
    ("asked", "answers", "doubtful"),
    [
        (0, [5], False),
        (5, [6], False),
        (5, [5], True),  # nothing is newer; if there is, it is another server's
        (5, [3, 3], True),  # it forgot
        (5, [None, 9], True),  # an error
        (5, [None, 9, 10], False),
    ],
)
def test_when_what_is_missing_may_be_unknown(asked, answers, doubtful):
    """After a restart, and when the index alone has not moved."""
    queries = BlockingQuery(random.Random(1))
    if asked:
        queries.answered(asked)
    for answer in answers:
        queries.query(0.0)
        if answer is None:
            queries.failed(0.0)
        else:
            queries.answered(answer)
    assert queries.doubtful == doubtful
