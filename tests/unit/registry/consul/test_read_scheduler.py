"""The scheduler of the reads of many watched services, over changes, reads, errors and time."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore.core.instances import ChannelAddress, Instance
from meshcore.registry.consul.api.types import CheckRow
from meshcore.registry.consul.machines.blocking_query import BACKOFF_MAX, BACKOFF_PERMANENT, GAP
from meshcore.registry.consul.machines.checks import BURST, COST, SHARE
from meshcore.registry.consul.machines.read_scheduler import CHECKS_DELAY, FULL_READ_GAP, READS, REFRESH, ReadScheduler
from meshcore.registry.consul.machines.service_watch import Entry, Level, Selected
from meshcore.registry.consul.machines.steps import Idle, ReadChecks, ReadService
from meshcore.registry.consul.machines.watch import Unreachable

NAMES = "abcdef"
FOREIGN = "z"
"""This instance of each service has no tag that is its own."""

Fleet = dict[str, dict[str, Level]]
"""The truth: the instances of each service and how their checks stand."""


class Consul:
    """A Consul of one server whose index counts changes, and a shell that asks it for what the scheduler asks."""

    def __init__(self, rng: random.Random, names: str = NAMES) -> None:
        self.scheduler = ReadScheduler(rng)
        self.rng = rng
        self.fleet: Fleet = {}
        self.made: dict[tuple[str, str], int] = {}
        self.index = self.catalog_index = self.checks_index = 1
        self.now = 0.0
        self.down = False
        self.pending: list[tuple[ReadService, int, list[Entry]]] = []
        self.known: dict[str, list[str]] = {}
        self.reads: list[tuple[float, str]] = []
        self.checks: list[float] = []  # what each look took
        self.names = names
        for name in names:
            self.tell(name, self.scheduler.add(name, 0.0))

    def tell(self, name: str, news: object) -> None:
        if isinstance(news, Selected):
            self.known[name] = [each.id for each in news.instances]

    def rows(self, state: Level | None = None) -> list[CheckRow]:
        return [
            CheckRow("n", f"{name}:{each}", name, self.made[name, each], self.index)
            for name, found in self.fleet.items()
            for each, level in found.items()
            if state in {None, level}
        ]

    def put(self, name: str, each: str, level: Level | None) -> None:
        """Register, change, or (None) deregister."""
        self.index += 1
        self.checks_index = self.index
        before = self.fleet.get(name, {}).get(each)
        if level is None:
            if before is None:
                return
            del self.fleet[name][each]
            if not self.fleet[name]:
                del self.fleet[name]
        else:
            self.fleet.setdefault(name, {})[each] = level
            if before is None:
                self.made[name, each] = self.index
        if before is None or level is None:
            self.catalog_index = self.index
        if self.down:
            return
        if before is None or level is None:
            self.answer_catalog()
        self.answer_unhealthy()

    def answer_catalog(self) -> None:
        editions = {
            name: frozenset(f"{each} {self.made[name, each]}" for each in found if each != FOREIGN)
            for name, found in self.fleet.items()
        }
        self.scheduler.catalog_answered(editions, self.now, self.catalog_index)

    def answer_unhealthy(self) -> None:
        for state in (Level.CRITICAL, Level.WARNING):
            self.scheduler.unhealthy_answered(state.value, self.rows(state), self.now)

    def entries(self, name: str) -> list[Entry]:
        return [
            Entry(f"n/{each}", level, Instance(each, name, (ChannelAddress("rest", f"http://{each}:1"),)))
            for each, level in self.fleet.get(name, {}).items()
        ]

    def fail(self, *, refused: bool = False) -> None:
        """The catalog does not answer."""
        self.down = True
        for name, news in self.scheduler.catalog_failed("gone", self.now, permanent=refused):
            self.tell(name, news)

    def back(self) -> None:
        self.down = False
        self.answer_catalog()
        self.answer_unhealthy()

    def finish(self, *, broken: bool = False) -> None:
        """Those reads that are under way end."""
        pending, self.pending = self.pending, []
        for read, index, entries in pending:
            if broken:
                self.tell(read.name, self.scheduler.service_failed(read, self.now, "broken"))
            else:
                self.tell(read.name, self.scheduler.service_answered(read, self.now, index, entries, leader=True))

    def begin(self) -> float:
        """Begin every step that the scheduler asks for; the time of the next one."""
        while not isinstance(step := self.scheduler.step(self.now), Idle):
            if isinstance(step, ReadService):
                self.reads.append((self.now, step.name))
                self.pending.append((step, self.index, self.entries(step.name)))
                assert len(self.pending) <= READS
            else:
                assert isinstance(step, ReadChecks)
                rows = self.rows()
                self.checks.append(COST * len(rows))
                self.scheduler.checks_answered(rows, self.now, self.checks_index)
        return step.until

    def run(self, seconds: float) -> None:
        """Let time pass; each read takes a millisecond."""
        end = self.now + seconds
        while self.now < end:
            until = self.begin()
            assert until >= self.now or self.pending
            self.now = min(self.now + 0.001 if self.pending else max(until, self.now + 0.001), end)
            self.finish()

    @property
    def truth(self) -> dict[str, list[str]]:
        """What is to be known: all instances here are passing or critical."""
        found = {}
        for name in self.names:
            levels = self.fleet.get(name, {})
            best = [each for each, level in levels.items() if level is Level.PASSING]
            found[name] = sorted(best or levels)
        return found


CHANGES = st.tuples(
    st.just("put"),
    st.sampled_from(NAMES),
    st.sampled_from("xyz"),
    st.sampled_from([None, Level.PASSING, Level.CRITICAL]),
)
STEPS = st.lists(
    st.tuples(
        st.floats(0, 2), st.one_of(CHANGES, CHANGES, st.sampled_from([("fail",), ("back",), ("break",), ("begin",)]))
    ),
    max_size=40,
)


@settings(max_examples=30)
@given(STEPS, st.randoms(use_true_random=False))
def test_the_truth_is_known_in_the_end(steps, rng):
    """Whatever changed, broke and came back in whatever order: when all is well, what is known is what is there."""
    consul = Consul(rng)
    consul.back()
    for seconds, step in steps:
        consul.run(seconds)
        match step:
            case ("put", name, each, level):
                consul.put(name, each, level)
            case ("fail",):
                consul.fail()
            case ("back",):
                consul.back()
            case ("break",):
                consul.begin()
                consul.finish(broken=True)
            case _:
                consul.begin()  # and what changes next is missing in what is read now
    consul.back()
    consul.run(25.0)  # longer than anybody is held, and less than until the next refresh
    assert consul.known == consul.truth


@settings(max_examples=30)
@given(STEPS, st.randoms(use_true_random=False))
def test_reads_keep_their_distance_and_their_number(steps, rng):
    """A service is read once at a time, 100 ms apart; never more than four at once (the shell here asserts that)."""
    consul = Consul(rng)
    consul.back()
    for seconds, step in steps:
        if step[0] == "put":
            consul.put(*step[1:])
        consul.run(seconds)
    for name in NAMES:
        times = [at for at, read in consul.reads if read == name]
        assert all(later - earlier >= 2 * GAP - 1e-9 for earlier, later in pairwise(times))


def quiet() -> Consul:
    """All are there with two instances each, and nothing has happened for a while."""
    consul = Consul(random.Random(1))
    for name in NAMES:
        for each in "xy":
            consul.put(name, each, Level.PASSING)
    consul.back()
    consul.run(5.0)
    assert consul.known == consul.truth
    consul.reads.clear()
    consul.checks.clear()
    return consul


@pytest.mark.parametrize("level", [Level.PASSING, None], ids=["registration", "deregistration"])
@pytest.mark.parametrize("each", ["w", FOREIGN])
def test_a_registration_costs_one_read(each, level):
    """Only the service that has changed is read, and at once. The checks have to say whose a foreign one is."""
    consul = quiet()
    if level is None:
        consul.put("c", each, Level.PASSING)
        consul.run(2 * CHECKS_DELAY)
        consul.reads.clear()
        consul.checks.clear()
    consul.put("c", each, level)
    consul.run(0.01)
    assert consul.known["c"] == consul.truth["c"]
    assert [name for _, name in consul.reads] == ["c"]
    assert len(consul.checks) == (each == FOREIGN)


def test_a_foreign_change_is_found_beside_one_of_ours():
    """The tags explain that the catalog has changed, so all checks are read a little later, in case they hide more."""
    consul = quiet()
    consul.down = True  # for as long as both need
    consul.put("c", "w", Level.PASSING)
    consul.put("d", FOREIGN, Level.PASSING)
    consul.back()
    consul.run(0.01)
    assert consul.known["c"] == consul.truth["c"]
    assert consul.known["d"] != consul.truth["d"]
    assert not consul.checks
    consul.run(CHECKS_DELAY)
    assert consul.known == consul.truth
    assert len(consul.checks) == 1


def test_other_tags_alone_have_nobody_else_read():
    """Such as of other Meta under the same id: the checks stay as they were, and that is nothing to look for."""
    consul = quiet()
    consul.index = consul.catalog_index = consul.made["c", "x"] = consul.index + 1
    consul.fleet["c"]["x"] = Level.PASSING
    before = consul.rows()
    consul.answer_catalog()
    consul.rows = lambda state=None: before
    consul.run(2 * FULL_READ_GAP)
    assert {name for _, name in consul.reads} == {"c"}


def test_a_change_of_health_costs_one_read():
    """The lists of unhealthy checks say which service to read."""
    consul = quiet()
    consul.put("c", "x", Level.CRITICAL)
    consul.run(0.01)
    assert consul.known["c"] == ["y"]
    consul.run(0.2)
    consul.put("c", "x", Level.PASSING)
    consul.run(0.01)
    assert consul.known["c"] == ["x", "y"]
    assert [name for _, name in consul.reads] == ["c", "c"]
    assert not consul.checks


def test_an_unhealthy_node_concerns_all_on_it():
    """Its check names no service; those with an instance there are read."""
    consul = quiet()
    consul.scheduler.unhealthy_answered("critical", [CheckRow("other", "serfHealth", "", 1, 2)], consul.now)
    consul.run(0.05)
    assert not consul.reads
    consul.scheduler.unhealthy_answered("critical", [CheckRow("n", "serfHealth", "", 1, 2)], consul.now)
    consul.run(0.05)
    assert {name for _, name in consul.reads} == set(NAMES)


def test_a_change_that_no_check_shows_has_all_read():
    """Such as other Meta of a foreign one under the same id; but not more often than every ten seconds."""
    consul = quiet()
    for _ in range(5):
        consul.index = consul.catalog_index = consul.index + 1
        consul.answer_catalog()
        consul.run(0.5)
    assert len(consul.reads) == len(NAMES)
    consul.run(FULL_READ_GAP)
    assert len(consul.reads) == 2 * len(NAMES)


def test_nothing_is_asked_while_nothing_happens():
    """The ends of quiet waits cost nothing; each is read every two minutes or so."""
    consul = quiet()
    for _ in range(10):
        consul.run(0.1 * REFRESH)
        consul.answer_catalog()
    consul.run(0.25 * REFRESH)
    assert not consul.checks
    assert len(NAMES) <= len(consul.reads) <= 2 * len(NAMES)


def test_a_change_that_no_server_shows_yet_is_looked_for_again():
    """When the read finds nothing new, the server was behind perhaps: once more after a second."""
    consul = quiet()
    consul.scheduler.changed("c", consul.now)
    consul.run(10.0)
    assert [name for _, name in consul.reads] == ["c", "c"]
    assert consul.reads[1][0] - consul.reads[0][0] == pytest.approx(1.0, abs=0.01)


def test_what_a_look_at_the_checks_has_shown_is_not_looked_for_again():
    """The catalog told of a change while they were read, and it is in what was read."""
    consul = quiet()
    consul.put("c", FOREIGN, Level.PASSING)
    assert isinstance(consul.scheduler.step(consul.now), ReadChecks)
    consul.put("d", FOREIGN, Level.PASSING)
    consul.scheduler.checks_answered(consul.rows(), consul.now, consul.checks_index)
    consul.run(0.9)
    assert sorted(name for _, name in consul.reads) == ["c", "d"]
    assert not consul.checks


def test_a_storm_does_not_have_all_checks_read_all_the_time():
    """They take half a second of CPU at most, then a fifth of a core; what was put off is seen in the end."""
    consul = quiet()
    for number in range(3000):
        consul.fleet["c"][f"i{number}"] = Level.PASSING
        consul.made["c", f"i{number}"] = 1
    for number in range(100):
        consul.put("d", FOREIGN, None if number % 2 else Level.PASSING)
        consul.run(0.02)
    assert 10 < len(consul.checks) < 50
    assert sum(consul.checks) <= BURST + SHARE * 2.0 + 2 * max(consul.checks)
    consul.run(1.0)
    assert consul.known == consul.truth


def test_nobody_is_read_while_the_catalog_is_away():
    """All are told once, what is known stays, whoever is added is told too, and afterwards all are read."""
    consul = quiet()
    before = dict(consul.known)
    consul.fail()
    consul.run(10.0)
    assert not consul.reads
    assert not consul.scheduler.catalog_failed("still", consul.now)
    assert len(consul.scheduler.catalog_failed("a token", consul.now, permanent=True)) == len(NAMES)
    assert isinstance(consul.scheduler.add("new", consul.now), Unreachable)
    assert consul.known == before
    consul.fail()
    consul.back()
    consul.run(BACKOFF_PERMANENT)
    assert {name for _, name in consul.reads} == {*NAMES, "new"}


def test_checks_that_cannot_be_read():
    """Then everybody is read; the checks are tried again."""
    consul = Consul(random.Random(1))
    consul.put("a", "x", Level.PASSING)
    consul.answer_catalog()
    assert isinstance(consul.scheduler.step(0.0), ReadChecks)
    consul.scheduler.checks_failed(0.0)
    consul.run(0.1)
    assert consul.known == consul.truth
    assert not consul.checks
    consul.run(BACKOFF_MAX)
    assert consul.checks


def test_a_read_of_who_has_left_tells_nobody():
    """A service that is no longer watched is neither read nor published, and its place is free."""
    consul = quiet()
    for name in NAMES:
        consul.scheduler.changed(name, consul.now)
    consul.begin()
    (a, *_), (b, *_) = consul.pending[:2]
    for name in NAMES:
        consul.scheduler.remove(name)
    assert consul.scheduler.service_answered(a, consul.now, 99, [], leader=True) is None
    assert consul.scheduler.service_failed(b, consul.now, "broken") is None
    consul.scheduler.add("a", consul.now)
    consul.pending.clear()
    consul.begin()
    assert [read.name for read, _, _ in consul.pending] == ["a"]


def test_a_read_of_who_has_left_and_come_back_tells_nobody():
    """What was read before is older than what the catalog told meanwhile, and must not be taken for the new answer."""
    consul = quiet()
    consul.put("a", "new", Level.PASSING)
    consul.begin()
    (old,) = consul.pending
    consul.scheduler.remove("a")
    consul.put("a", "newer", Level.PASSING)
    consul.scheduler.add("a", consul.now)
    consul.pending.clear()
    consul.begin()
    ((read, index, entries),) = consul.pending
    assert consul.scheduler.service_answered(old[0], consul.now, old[1], old[2], leader=True) is None
    news = consul.scheduler.service_answered(read, consul.now, index, entries, leader=True)
    assert isinstance(news, Selected)
    assert [each.id for each in news.instances] == ["new", "newer", "x", "y"]
