"""When what expires is fetched again."""

from __future__ import annotations

import random
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.security.tokens.renewal import Renewal

pytestmark = pytest.mark.one_python

STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 500.0),
        st.sampled_from(["fetch", "fail", "ask"]),
        st.floats(0.0, 4000.0),
        st.sampled_from([0.0, 100.0]),
    ),
    max_size=60,
)


@given(STEPS, st.integers(0, 2**16))
def test_it_is_fetched_ahead_of_its_end_at_a_bounded_rate(steps, seed):
    """Whatever happens: no fetch within a pause, usable only until the end, asked for at most once in an interval."""
    renewal, now, ends, asked, failures = Renewal(random.Random(seed)), 0.0, -inf, -inf, 0
    fetched, failed = -inf, -inf
    for wait, what, life, grace in steps:
        now += wait
        assert renewal.is_usable(now) == (now < ends)
        assert renewal.usable_for(now) == max(ends - now, 0.0)
        if what == "ask":
            if renewal.ask(now):
                assert now - asked >= 10.0
                asked = now
            continue
        if not renewal.is_due(now):
            # Once it is due, it stays so: nothing that has ended waits for ever.
            assert renewal.is_due(max(now + 60.0, ends))
            continue
        assert now - fetched >= 1.0
        assert failures == 0 or now - failed >= 0.5 * min(2.0 ** (failures - 1), 60.0)
        if what == "fail":
            renewal.failed(now)
            failed, failures = now, failures + 1
            assert not renewal.is_due(now)
        else:
            renewal.succeeded(now, life, grace)
            fetched, ends, failures = now, now + life + grace, 0
            if life > 10:
                assert not renewal.is_due(now + 0.69 * life)
                assert renewal.is_due(now + 0.91 * life)
                assert renewal.is_usable(now + 0.91 * life)


def test_a_fleet_does_not_fetch_at_once():
    """The moment varies from process to process, also after failures."""
    due = set()
    for seed in range(20):
        renewal = Renewal(random.Random(seed))
        renewal.succeeded(0.0, 100.0)
        due.add(next(at for at in range(100) if renewal.is_due(float(at))))
    assert len(due) > 8
    assert min(due) >= 70
    assert max(due) <= 91
