"""The watch of a service, over answers, errors, falling indexes and time."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.instances import ChannelAddress, Instance
from meshcore.registry.consul.machines.blocking_query import WAIT, WAIT_FIRST
from meshcore.registry.consul.machines.service_watch import Entry, Level, Selected, ServiceWatch
from meshcore.registry.consul.machines.watch import HOLD, State, Unreachable

NAMES = "abcd"

ANSWERS = st.tuples(
    st.just("answer"),
    st.integers(-3, 12),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(Level), max_size=4),
    st.booleans(),
)
ERRORS = st.tuples(st.just("error"), st.booleans())
STEPS = st.lists(st.tuples(st.floats(0, 20), st.one_of(ANSWERS, ERRORS)), max_size=40)


def entry(name: str, level: Level = Level.PASSING) -> Entry:
    """The registration of an instance."""
    return Entry(f"node/{name}", level, Instance(name, "orders", (ChannelAddress("rest", f"http://{name}:1"),)))


def ids(news: object) -> list[str]:
    """Of the instances that are published."""
    assert isinstance(news, Selected)
    return [instance.id for instance in news.instances]


@given(STEPS, st.randoms(use_true_random=False))
def test_only_changes_are_published(steps, rng):
    """No two publications in a row are equal, and an error never publishes instances."""
    watch, now, published = ServiceWatch(rng), 0.0, None
    for seconds, step in steps:
        now = watch.query(now).at + seconds
        if step[0] == "answer":
            news = watch.answered(now, step[1], [entry(*each) for each in step[2].items()], leader=step[3])
        else:
            news = watch.failed(now, "gone", permanent=step[1])
            assert not isinstance(news, Selected)
        if news is not None:
            assert news != published
            published = news


@given(STEPS, st.randoms(use_true_random=False))
def test_who_is_left_out_is_no_better_than_who_is_not(steps, rng):
    """Nobody who passes is left out, and nobody critical is taken while others are there, but the held."""
    watch, now, seen = ServiceWatch(rng), 0.0, Selected(())
    for seconds, step in steps:
        query = watch.query(now)
        now = query.at + seconds
        if step[0] == "error":
            watch.failed(now, "gone")
            continue
        levels = step[2]
        news = watch.answered(now, step[1], [entry(*each) for each in levels.items()])
        if isinstance(news, Selected):
            seen = news
        if step[1] >= query.index:
            assert {name for name, level in levels.items() if level is Level.PASSING} <= set(ids(seen))
            if Level.PASSING in levels.values():
                critical = {name for name, level in levels.items() if level is Level.CRITICAL}
                held = {key.removeprefix("node/") for key in watch._kept_until}
                assert not (critical - held) & set(ids(seen))


@given(
    st.sets(st.sampled_from(NAMES), min_size=1),
    st.sets(st.sampled_from(NAMES)),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_what_vanished_over_a_restart_is_kept_for_a_while(before, after, falls, rng):
    """After an error or a fallen index nobody is dropped for ten seconds, and everybody who is gone after fifteen."""
    watch = ServiceWatch(rng)
    watch.answered(0.0, 7, [entry(name) for name in before])
    if falls:
        assert watch.answered(1.0, 3, []) is None
    else:
        assert isinstance(watch.failed(1.0, "gone"), Unreachable)
    found = [entry(name) for name in after]
    watch.answered(2.0, 3, found)
    for now in (3.0, 2.0 + HOLD[0] - 0.01):
        watch.answered(now, 3, found)
        assert {each.instance.id for each in watch._known.values()} == before | after
    watch.query(11.9)
    watch.answered(2.0 + HOLD[1], 3, found)
    assert {each.instance.id for each in watch._known.values()} == after


def test_what_vanished_otherwise_is_gone_at_once():
    """An emptied list is believed if nothing restarted, and also for who was seen again after a restart."""
    watch = ServiceWatch(random.Random(1))
    assert ids(watch.answered(0.0, 5, [entry("a"), entry("b")])) == ["a", "b"]
    assert ids(watch.answered(1.0, 6, [entry("a")])) == ["a"]
    watch.failed(2.0, "gone")
    assert ids(watch.answered(3.0, 2, [])) == ["a"]
    assert watch.answered(4.0, 3, [entry("a")]) is None
    assert ids(watch.answered(5.0, 4, [])) == []


def test_a_held_query_ends_when_there_is_something_to_forget():
    """While somebody is kept, the wait is no longer than that."""
    watch = ServiceWatch(random.Random(1))
    watch.answered(0.0, 5, [entry("a")])
    watch.failed(1.0, "gone")
    for now in range(2, 12):
        watch.answered(float(now), 5, [])
    assert 1 <= watch.query(11.5).wait <= HOLD[1] - 9.5


def test_a_quiet_watch_asks_ever_more_rarely():
    """The wait doubles from two seconds to thirty, and begins anew with whatever is new."""
    watch = ServiceWatch(random.Random(1))
    waits = []
    for number in range(7):
        watch.answered(100.0 * number, 5, [entry("a")])
        waits.append(watch.query(100.0 * number).wait)
    assert waits == [WAIT_FIRST, 4.0, 8.0, 16.0, WAIT, WAIT, WAIT]
    watch.answered(900.0, 6, [entry("b")])
    assert watch.query(900.0).wait == WAIT_FIRST


def test_another_list_under_the_same_index_is_another_servers():
    """Who is missing in it is kept for a while: it restarted unseen, and may not know everybody yet."""
    watch = ServiceWatch(random.Random(1))
    watch.answered(0.0, 5, [entry("a")])
    assert watch.query(1.0).index == 5
    assert ids(watch.answered(2.0, 5, [entry("b")])) == ["a", "b"]
    watch.query(3.0)
    assert ids(watch.answered(17.0, 5, [entry("b")])) == ["b"]


def test_an_answer_without_a_leader_hides_nobody():
    """What is missing while no leader is known is kept for a while; the flag alone does not stop a new one."""
    watch = ServiceWatch(random.Random(1))
    watch.answered(0.0, 5, [entry("a")])
    assert ids(watch.answered(1.0, 6, [entry("b")], leader=False)) == ["a", "b"]
    assert ids(watch.answered(17.0, 6, [entry("b")], leader=False)) == ["b"]


def test_who_is_critical_after_a_restart_is_believed_in_for_a_while():
    """Heartbeats did not reach an agent that was away; who was critical before, or stays so, is left out."""
    watch = ServiceWatch(random.Random(1))
    a, b, c = entry("a", Level.CRITICAL), entry("b", Level.CRITICAL), entry("c")
    assert ids(watch.answered(0.0, 5, [entry("a"), b, c])) == ["a", "c"]
    watch.failed(1.0, "gone")
    assert ids(watch.answered(2.0, 5, [a, b, c])) == ["a", "c"]
    assert watch.answered(3.0, 6, [entry("a"), b, c]) is None
    assert ids(watch.answered(4.0, 7, [a, b, c])) == ["c"]
    watch.failed(5.0, "gone")
    assert ids(watch.answered(6.0, 7, [entry("a"), b, entry("c", Level.CRITICAL)])) == ["a", "c"]
    assert ids(watch.answered(6.0 + HOLD[1], 8, [entry("a"), b, entry("c", Level.CRITICAL)])) == ["a"]


def test_trouble_is_told_once():
    """The first error is published, further ones are not, and the same instances are again when it is over."""
    watch = ServiceWatch(random.Random(1))
    assert ids(watch.answered(0.0, 5, [entry("a")])) == ["a"]
    assert watch.failed(1.0, "refused") == Unreachable("refused")
    assert watch.failed(2.0, "reset") is None
    assert watch.state is State.STALE
    assert watch.failed(3.0, "403", permanent=True) == Unreachable("403", permanent=True)
    assert ids(watch.answered(4.0, 5, [entry("a")])) == ["a"]
    assert watch.state is State.LIVE


def test_critical_ones_are_asked_when_nobody_else_is_there():
    """Critical ones only if all are, and it is said; those with a warning as well if fewer pass."""
    watch = ServiceWatch(random.Random(1))
    assert watch.answered(0, 1, [entry("a", Level.CRITICAL)]) == Selected((entry("a").instance,), with_critical=True)
    assert ids(watch.answered(1, 2, [entry("a", Level.CRITICAL), entry("b", Level.WARNING)])) == ["b"]
    assert ids(watch.answered(2, 3, [entry("a"), entry("b", Level.WARNING)])) == ["a"]
    assert ids(watch.answered(3, 4, [entry("a"), entry("b", Level.WARNING), entry("c", Level.WARNING)])) == [*"abc"]


def test_one_process_at_two_agents_is_one_instance():
    """The same instance under two keys is published once."""
    watch = ServiceWatch(random.Random(1))
    assert ids(watch.answered(0, 1, [Entry("n1/a", Level.PASSING, entry("a").instance), entry("a")])) == ["a"]


def test_a_channel_that_only_a_critical_one_offers():
    """It is asked over that channel, as nobody else is there for it, and over no other."""
    rest, fancy = ChannelAddress("rest", "http://b:1"), ChannelAddress("fancy", "http://b:1")
    watch = ServiceWatch(random.Random(1))
    both = Entry("n/b", Level.CRITICAL, Instance("b", "orders", (rest, fancy)))
    published = watch.answered(0, 1, [entry("a"), both])
    assert published == Selected((entry("a").instance, Instance("b", "orders", (fancy,))), with_critical=True)
