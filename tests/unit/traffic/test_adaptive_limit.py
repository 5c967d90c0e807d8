"""The adaptive limit: what it never does, and what it makes of services that are busy, overloaded or merely slow."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshcore.traffic.adaptive_limit import FLOOR, TARGET_LAG, WINDOW, AdaptiveLimit

METHODS = st.sampled_from("abc")


class LimitMachine(RuleBasedStateMachine):
    """Calls come, end and fail in any order, and the loop is late or not."""

    @initialize(maximum=st.integers(1, 2000))
    def begin(self, maximum: int) -> None:
        """A server starts."""
        self.maximum = maximum
        self.limit = AdaptiveLimit(maximum)
        self.now = 0.0
        self.running: list[float] = []
        self.admitted = 0  # in this turn

    @rule(calls=st.integers(1, 200))
    def arrive(self, calls: int) -> None:
        """Some calls at once."""
        for _ in range(calls):
            within = len(self.running) < self.limit.limit and self.admitted < self.limit.quota
            assert self.limit.admit(len(self.running)) == within
            if within:
                self.running.append(self.now)
                self.admitted += 1

    @rule(calls=st.integers(1, 200), key=METHODS, whole=st.booleans())
    def end(self, calls: int, key: str, whole: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
        """The oldest end."""
        for _ in range(min(calls, len(self.running))):
            before = self.limit.limit
            few = len(self.running) <= FLOOR
            peak = max(self.limit._peak, len(self.running))
            self.limit.observe(key, self.now - self.running.pop(0), len(self.running) + 1, self.now, whole=whole)
            if few and peak <= FLOOR:
                assert self.limit.limit >= before, "few calls are never an overload"

    @rule(seconds=st.floats(0.0001, 30))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule(lag=st.floats(0, 5))
    def turn(self, lag: float) -> None:
        """The loop says how late it is."""
        before = self.limit.limit, self.limit.quota
        self.now += 0.05 + lag
        self.limit.lagged(lag, self.now)
        if lag > TARGET_LAG:
            assert self.limit.limit <= before[0] or self.limit.lag <= TARGET_LAG
            assert self.limit.quota <= before[1]
        self.admitted = 0

    @invariant()
    def bounded(self) -> None:
        """Between the floor and the maximum; and there is always an hour at which to come again."""
        if hasattr(self, "limit"):
            least = min(FLOOR, self.maximum)
            assert least <= self.limit.limit <= self.maximum
            assert self.limit.quota >= least
            assert self.limit.retry_after >= WINDOW
            assert len(self.running) <= self.maximum


TestLimit = LimitMachine.TestCase


class Service:
    """A service with so many workers, called at a constant rate; calls wait in a queue for a worker."""

    def __init__(self, workers: int, seconds: Callable[[float], float]) -> None:
        self.limit = AdaptiveLimit(1000)
        self.now = 0.0
        self.refused = 0
        self.took: list[float] = []
        self._free = [0.0] * workers
        self._seconds = seconds
        self._ends: list[tuple[float, float]] = []

    def run(self, rate: float, seconds: float) -> None:
        """Go on with calls, and count anew."""
        self.refused, self.took = 0, []
        for _ in range(int(rate * seconds)):
            self.now += 1 / rate
            while self._ends and self._ends[0][0] <= self.now:
                end, begun = heapq.heappop(self._ends)
                self.limit.observe("a", end - begun, len(self._ends) + 1, end)
            if not self.limit.admit(len(self._ends)):
                self.refused += 1
                continue
            end = max(self.now, heapq.heappop(self._free)) + self._seconds(self.now)
            heapq.heappush(self._free, end)
            heapq.heappush(self._ends, (end, self.now))
            self.took.append(end - self.now)


def test_many_calls_that_wait_for_others_are_no_overload() -> None:
    """A service with 200 calls of 1 s in flight refuses none: they are as slow as ever."""
    service = Service(10_000, lambda now: 1.0)
    service.run(rate=200, seconds=60)
    assert service.refused == 0


@pytest.mark.parametrize("times", [1.2, 3, 10])
def test_an_explosion_of_latencies_is_stopped(times: float) -> None:
    """A service with 40 workers keeps them busy at any load, and its calls wait hardly longer than they work."""
    service = Service(40, lambda now: 0.1)
    service.run(rate=300, seconds=20)
    assert service.refused == 0
    service.run(rate=400 * times, seconds=30)  # it takes until here to be found out, and the queue to be worked off
    service.run(rate=400 * times, seconds=30)
    assert len(service.took) / 30 > 0.97 * 400
    assert max(service.took) < 0.4


def test_after_an_overload_everything_is_admitted_again() -> None:
    """The limit grows back by its square root in each window."""
    service = Service(40, lambda now: 0.1)
    service.run(rate=300, seconds=20)
    service.run(rate=2000, seconds=30)
    assert service.limit.limit < 150
    service.run(rate=300, seconds=10)
    assert service.limit.limit == 1000
    service.run(rate=300, seconds=10)
    assert service.refused == 0


def test_what_is_slow_however_few_run_is_not_refused_for_long() -> None:
    """If what a service waits for becomes three times as slow for good, it gets used to that."""
    service = Service(10_000, lambda now: 1.0 if now < 20 else 3.0)
    service.run(rate=200, seconds=20)
    assert service.refused == 0
    service.run(rate=200, seconds=20)
    assert service.refused < 0.3 * 200 * 20
    service.run(rate=200, seconds=20)
    assert service.refused == 0


def test_a_mix_of_slow_and_fast_methods_is_no_overload() -> None:
    """Each method is compared with itself: when the slow one is suddenly called most, nothing is refused."""
    limit = AdaptiveLimit(1000)
    limits: set[float] = set()
    for number in range(20_000):
        slow = number % 100 < (5 if number < 10_000 else 95)
        limit.observe("slow" if slow else "fast", 0.5 if slow else 0.005, 100, number / 100)
        limits.add(limit.limit)
    assert limits == {1000}


def test_calls_that_were_stopped_count_only_if_they_were_slow() -> None:
    """Callers that leave early, such as hedges that lost, make a method no faster; those that gave up make it slow."""
    for seconds, cut in ((0.01, False), (2.0, True)):
        limit = AdaptiveLimit(1000)
        for number in range(100):
            limit.observe("a", 0.1, 100, number / 100)
        for number in range(100):
            limit.observe("a", seconds, 100, 2 + number / 100, whole=False)
        assert (limit.limit < 1000) is cut


def late(limit: AdaptiveLimit, lag: float, turns: int, *, calls: int, in_flight: int = 0, now: float = 0.0) -> float:
    """So many turns of a loop that is so late; the time after them."""
    for _ in range(turns):
        for _ in range(calls):
            limit.admit(in_flight)
        now += 0.05 + lag
        limit.lagged(lag, now)
    return now


def test_one_pause_of_the_loop_is_no_overload() -> None:
    """The loop is late once, for garbage collection: nothing changes."""
    limit = AdaptiveLimit(1000)
    late(limit, 0.5, 1, calls=100)
    late(limit, 0.001, 5, calls=100, now=1)
    late(limit, 0.1, 3, calls=100, now=2)  # nor is a burst that is soon worked off
    late(limit, 0.001, 5, calls=100, now=3)
    assert (limit.limit, limit.quota) == (1000, inf)


def test_a_late_loop_lowers_the_limit_by_itself() -> None:
    """Of calls that wait in between fewer may be in flight, whatever their latencies say."""
    limit = AdaptiveLimit(1000)
    now = late(limit, 0.2, 4, calls=20, in_flight=100)
    assert limit.limit < 100
    assert limit.quota == inf
    late(limit, 0.0, 80, calls=20, in_flight=20, now=now)
    assert limit.limit > 400


def test_a_late_loop_takes_on_fewer_calls_that_never_wait() -> None:
    """They are never in flight when the next is looked at; so what is bounded is their number per turn."""
    limit = AdaptiveLimit(1000)
    now = late(limit, 0.5, 3, calls=50)
    assert limit.quota < 50
    assert limit.retry_after == pytest.approx(0.5)
    assert [limit.admit(0) for _ in range(50)].count(True) == int(limit.quota) + (limit.quota % 1 > 0)
    late(limit, 0.0, 200, calls=3, now=now)
    assert limit.quota == inf


def test_short_calls_may_take_many_times_as_long() -> None:
    """Calls of a millisecond that take thirty are slow, but nobody is helped by refusing them; three tenths are."""
    limit = AdaptiveLimit(1000)

    def run(seconds: float, rounds: int, now: float) -> float:
        for _ in range(rounds):
            now += 0.01
            for _ in range(20):
                limit.observe("a", seconds, 50, now)
        return now

    now = run(0.001, 100, 0.0)
    now = run(0.03, 100, now)
    assert limit.limit == 1000
    run(0.3, 100, now)
    assert limit.limit < 50
