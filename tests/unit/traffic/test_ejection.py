"""Ejection and limits under any course of events; time and chance are arguments."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshcore.core.policy import DEFAULTS, Rules
from meshcore.traffic.ejection import Ejection
from meshcore.traffic.instance_monitor import State
from meshcore.traffic.outcome import Outcome

NAMES = "abcdef"
TOLD = st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED, Outcome.REFUSED, Outcome.IGNORABLE])


class Fleet(RuleBasedStateMachine):
    """Instances come, go, fail and recover; calls to them overlap in any way."""

    @initialize(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    def begin(self, seed: int, share: float) -> None:
        """Nobody is there."""
        self.rules = Rules(max_ejected=share, consecutive_failures=2, concurrency=3)
        self.ejection = Ejection(self.rules, random.Random(seed))
        self.there: set[str] = set()
        self.now = 0.0
        self.calls: list[tuple[str, bool, object]] = []

    @rule(names=st.frozensets(st.sampled_from(NAMES)))
    def update(self, names: frozenset[str]) -> None:
        """A new snapshot."""
        self.there = set(names)
        self.ejection.update(names)

    @rule(seconds=st.floats(0.01, 30))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule(name=st.sampled_from(NAMES), repeatable=st.booleans())
    def call(self, name: str, repeatable: bool) -> None:  # noqa: FBT001
        """A call is sent to one that is to be asked, or to the one that is due."""
        due = self.ejection.due(self.now, sorted(self.there), repeatable=repeatable)
        if due is not None:
            assert due in self.there
            assert self.ejection[due].state is State.EJECTED
            assert self.now >= self.ejection[due].until
            name = due
        elif name in self.ejection.avoided or name not in self.there:
            return
        probe = self.ejection.begin(name)
        assert probe == (due is not None)
        self.calls.append((name, probe, self.ejection[name]))

    @precondition(lambda self: self.calls)
    @rule(at=st.integers(0, 100), outcome=TOLD)
    def end(self, at: int, outcome: Outcome) -> None:
        """One of the calls ends."""
        name, probe, peer = self.calls.pop(at % len(self.calls))
        away = len(self.ejected())
        ejected = self.ejection.end(name, outcome, self.now, probe=probe)
        if ejected:
            assert outcome is Outcome.FAILED
            assert self.ejection[name].until >= self.now + 0.5 * self.rules.ejection
            assert self.ejection[name].until <= self.now + self.rules.ejection_max
        elif outcome in {Outcome.IGNORABLE, Outcome.REFUSED}:
            assert len(self.ejected()) == away, "what was given up changes nobody's standing"
        if probe and outcome is Outcome.SUCCEEDED and name in self.there and self.ejection[name] is peer:
            assert self.ejection[name].state is State.ADMITTED

    def ejected(self) -> set[str]:
        """Who is not admitted."""
        return {name for name in self.there if self.ejection[name].state is not State.ADMITTED}

    @invariant()
    def at_most_one_probe(self) -> None:
        """No instance is probed by two calls at once."""
        probed = [
            name for name, probe, peer in self.calls if probe and name in self.there and self.ejection[name] is peer
        ]
        assert len(probed) == len(set(probed))
        for name in self.there:
            assert (self.ejection[name].state is State.PROBED) == (name in probed)

    @invariant()
    def never_too_many(self) -> None:
        """Each ejection left enough; only instances that went since can make the share greater."""
        if self.rules.max_ejected == 0.0:
            assert not self.ejected()

    @invariant()
    def avoided_are_those_away_and_those_full(self) -> None:
        """What is not to be asked is known, and only that."""
        full = {name for name in self.there if self.ejection[name].pending >= self.rules.concurrency}
        assert self.ejection.avoided == self.ejected() | full
        assert self.ejection.full == full


TestFleet = Fleet.TestCase


def fail(ejection: Ejection, name: str, times: int, now: float = 0.0) -> bool:
    """Calls that fail; whether the last ejected the instance."""
    ejected = False
    for _ in range(times):
        probe = ejection.begin(name)
        ejected = ejection.end(name, Outcome.FAILED, now, probe=probe)
    return ejected


def fleet(names: str, rules: Rules = DEFAULTS) -> Ejection:
    """Instances."""
    ejection = Ejection(rules, random.Random(1))
    ejection.update(names)
    return ejection


def test_never_more_than_half_are_ejected() -> None:
    """Of ten instances that all fail, five are; then it panics and says so, until one has recovered."""
    ejection = fleet("abcdefghij")
    assert [name for name in "abcdefghij" if fail(ejection, name, 5)] == list("abcde")
    assert ejection.panicking
    due = ejection.due(100.0, "abcde", repeatable=True)
    assert due == "a"
    probe = ejection.begin(due)
    ejection.end(due, Outcome.SUCCEEDED, 100.0, probe=probe)
    assert not ejection.panicking
    assert ejection.avoided == set("bcde")


def test_one_of_two_may_be_ejected_and_the_only_one_never() -> None:
    """The share of a small fleet is rounded so that one may go; nobody is left without anybody."""
    assert fail(fleet("ab", Rules(max_ejected=0.1)), "a", 5)
    assert not fail(fleet("a"), "a", 50)


def test_ejections_grow_and_are_forgotten() -> None:
    """Each probe that fails doubles the time, up to the longest; a while of health halves it again."""
    ejection = fleet("ab", Rules(ejection=1.0, ejection_max=8.0))
    now, times = 0.0, []
    fail(ejection, "a", 5, now)
    for _ in range(5):
        times.append(ejection["a"].until - now)
        now = ejection["a"].until
        assert ejection.due(now, "a", repeatable=True) == "a"
        fail(ejection, "a", 1, now)
    bounds = [1, 2, 4, 8, 8]
    assert all(bound / 2 <= time <= bound for bound, time in zip(bounds, times, strict=True))
    ejections = ejection["a"].ejections
    now = ejection["a"].until
    for _ in range(100):
        probe = ejection.begin("a")
        ejection.end("a", Outcome.SUCCEEDED, now, probe=probe)
        now += 1.0
    assert ejection["a"].ejections == 0 < ejections


def test_a_probe_should_be_a_call_that_can_be_repeated() -> None:
    """One that cannot be repeated is not risked at once, but only when none other has come for a while."""
    ejection = fleet("ab")
    fail(ejection, "a", 5)
    until = ejection["a"].until
    assert ejection.due(until - 0.01, "ab", repeatable=True) is None
    assert ejection.due(until, "ab", repeatable=False) is None
    assert ejection.due(until, "ab", repeatable=True) == "a"
    assert ejection.due(until + 1.0, "ab", repeatable=False) == "a"


def test_a_low_rate_of_success_ejects_as_well() -> None:
    """Three of four calls fail, never five in a row: after ten calls the instance goes."""
    ejection = fleet("ab")
    for number in range(1, 11):
        assert not ejection.avoided
        got = Outcome.SUCCEEDED if number % 4 == 0 else Outcome.FAILED
        ejection.end("a", got, 0.1 * number, probe=ejection.begin("a"))
    assert ejection.avoided == {"a"}


def test_a_busy_instance_is_not_ejected() -> None:
    """However often it refuses: half of an overloaded fleet would not do better than all of it."""
    ejection = fleet("ab")
    for number in range(100):
        ejection.end("a", Outcome.REFUSED, 0.1 * number, probe=ejection.begin("a"))
    assert not ejection.avoided


def test_old_failures_are_forgotten() -> None:
    """What failed more than ten seconds ago does not count against the rate."""
    ejection = fleet("ab")
    for number in range(4):
        ejection.end("a", Outcome.FAILED, 0.1 * number, probe=ejection.begin("a"))
    for number in range(9):
        ejection.end("a", Outcome.SUCCEEDED, 20 + 0.1 * number, probe=ejection.begin("a"))
    ejection.end("a", Outcome.FAILED, 22.0, probe=ejection.begin("a"))
    assert not ejection.avoided
