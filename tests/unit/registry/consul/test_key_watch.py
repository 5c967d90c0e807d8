"""The watch of a key prefix, over answers, errors, falling indexes and time."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshcore.registry.consul.machines.blocking_query import WAIT_FIRST
from meshcore.registry.consul.machines.key_watch import KeyWatch
from meshcore.registry.consul.machines.watch import HOLD, State, Unreachable

KEYS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([b"1", b"2"]), max_size=4)
ANSWERS = st.tuples(st.just("answer"), st.integers(-3, 12), KEYS, st.booleans())
ERRORS = st.tuples(st.just("error"), st.booleans())
STEPS = st.lists(st.tuples(st.floats(0, 20), st.one_of(ANSWERS, ERRORS)), max_size=40)


def fed(machine, now, step):
    """What the machine says of a step."""
    if step[0] == "answer":
        return machine.answered(now, step[1], step[2], leader=step[3])
    return machine.failed(now, "gone", permanent=step[1])


@given(STEPS, st.randoms(use_true_random=False))
def test_nothing_is_published_twice_and_nothing_invented(steps, rng):
    """News differ from what they follow; each key's value is the last that was seen; an answer's keys are all there."""
    watch, now, news, seen = KeyWatch(rng), 0.0, None, {}
    for seconds, step in steps:
        now = watch.query(now).at + seconds
        stale = step[0] == "answer" and step[1] < watch.requests.index
        if step[0] == "answer" and not stale:
            seen |= step[2]
        said = fed(watch, now, step)
        if said is None:
            continue
        assert said != news
        news = said
        if not isinstance(said, Unreachable):
            assert said.items() >= step[2].items()
            assert said.items() <= seen.items()


@given(STEPS, KEYS.filter(bool), st.floats(0, 100), st.randoms(use_true_random=False))
def test_all_keys_are_never_lost_by_a_failure(steps, keys, seconds, rng):
    """After an error an empty answer takes nothing away, however long it stays."""
    watch, now = KeyWatch(rng), 0.0
    for pause, step in steps:
        now = watch.query(now).at + pause
        fed(watch, now, step)
    watch.failed(now, "gone")
    watch.answered(now, 20, keys)
    watch.failed(now, "gone")
    for index in (1, 1, 2, 3):
        now = watch.query(now).at + seconds
        believed = watch.answered(now, index, {})
        assert believed is None or believed.items() >= keys.items()


def test_a_deletion_that_was_seen_is_believed_at_once():
    """The index moves, and nothing has failed: also the last key may go."""
    watch = KeyWatch(random.Random(1))
    watch.query(0.0)
    assert watch.answered(0.0, 5, {"a": b"1", "b": b"2"}) == {"a": b"1", "b": b"2"}
    watch.query(1.0)
    assert watch.answered(1.0, 6, {"a": b"1"}) == {"a": b"1"}
    watch.query(2.0)
    assert watch.answered(2.0, 7, {}) == {}


def test_some_keys_that_vanished_over_a_restart_have_their_time():
    """A script that writes all of them again is given 10 to 15 s; what is missing then is gone."""
    watch = KeyWatch(random.Random(1))
    watch.query(0.0)
    watch.answered(0.0, 50, {"a": b"1", "b": b"2"})
    lost = watch.failed(1.0, "gone")
    assert lost == Unreachable("gone")
    assert watch.state is State.STALE
    watch.query(2.0)
    assert watch.answered(2.0, 3, {"a": b"1"}) == {"a": b"1", "b": b"2"}
    query = watch.query(3.0)
    assert query.wait == WAIT_FIRST
    assert watch.answered(5.0, 3, {"a": b"1"}) is None
    query = watch.query(6.0)
    assert HOLD[0] - 6.0 <= watch._kept_until["b"] - query.at
    watch.query(18.0)
    assert watch.answered(18.0, 3, {"a": b"1"}) == {"a": b"1"}


def test_a_token_that_lost_its_right_deletes_nothing():
    """Everything is gone, and the index has not moved: nobody has deleted it."""
    watch = KeyWatch(random.Random(1))
    watch.query(0.0)
    watch.answered(0.0, 5, {"a": b"1"})
    for now in (10.0, 50.0, 90.0):
        watch.query(now)
        assert watch.answered(now, 5, {}) is None
    watch.query(100.0)
    assert watch.answered(100.0, 6, {"b": b"2"}) == {"a": b"1", "b": b"2"}
    watch.query(120.0)
    assert watch.answered(120.0, 6, {"b": b"2"}) == {"b": b"2"}
