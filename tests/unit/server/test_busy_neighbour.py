"""An overloaded server whose processor others use, too: in virtual time, with the lag and the limit of production."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import inf

import pytest

from meshcore.server.loop_lag import Lag, LagMeter
from meshcore.traffic.adaptive_limit import AdaptiveLimit

CALL, REFUSAL, PARSING, TICK = 0.01, 0.0005, 0.0003, 0.00005  # seconds of the processor
TURNS = 7  # that a request takes on a connection that was open
WARM = 10.0  # seconds that do not count


@dataclass
class Outcome:
    """What came of the calls.

    Attributes:
        good: calls per second that were answered in time.
        late: calls that were executed, but for nobody.
        refused: calls that were not.
    """

    good: float = 0.0
    late: int = 0
    refused: int = 0


class BusyLoop:
    """An event loop as hypercorn uses it.

    It receives the bytes of a request, passes it on from turn to turn, and runs the call in the last one. Calls keep
    the loop busy.

    Args:
        share: of its processor that the loop gets.
        woken_after: seconds that it waits for its processor after it was idle.
        call: seconds of the processor that a call takes.
    """

    def __init__(self, share: float, woken_after: float = 0.0, call: float = CALL) -> None:
        self._share = share
        self._woken_after = woken_after
        self._call = call
        self._now = self._waited = 0.0
        self._limit = AdaptiveLimit(256)
        self._meter = LagMeter(0.0)
        self._measuring = False
        self._lag = Lag()
        self._outcome = Outcome()

    def run(self, rate: float, seconds: float, patience: float) -> Outcome:
        """Serve calls that come at random."""
        rng = random.Random(7)
        arrivals: list[float] = []
        at = rng.expovariate(rate)
        while at < WARM + seconds:
            arrivals.append(at)
            at += rng.expovariate(rate)
        arrivals.reverse()
        turns: list[list[float]] = [[] for _ in range(TURNS)]
        while arrivals or any(turns):
            if not any(turns) and not self._measuring:
                self._sleep_until(min(self._meter.due, arrivals[-1] if arrivals else inf))
            following: list[float] = []
            while arrivals and arrivals[-1] <= self._now:
                following.append(arrivals.pop())
            self._turn()
            for arrived in turns.pop():
                self._serve(arrived, patience)
            for requests in turns:
                self._spend(PARSING / (TURNS - 1) * len(requests))
            turns.insert(0, following)
        self._outcome.good /= seconds
        return self._outcome

    def _sleep_until(self, time: float) -> None:
        if time > self._now:
            self._now = time + self._woken_after
            self._waited += self._woken_after

    def _spend(self, seconds: float) -> None:
        self._now += seconds / self._share
        self._waited += seconds / self._share - seconds

    def _turn(self) -> None:
        if self._measuring:
            self._measuring = self._meter.turn(self._now)
        if self._now >= self._meter.due:
            self._lag = self._meter.tick(self._now, self._waited)
            self._limit.lagged(self._lag.overload, self._now)
            self._measuring = self._meter.begin_path(self._now) or self._measuring
            self._waited = 0.0
            self._spend(TICK)

    def _serve(self, arrived: float, patience: float) -> None:
        counts = arrived > WARM
        left = patience - self._lag.age(self._now)
        in_vain = left <= 0 or (self._lag.noticed and left < self._limit.usual("call"))
        if in_vain or not self._limit.admit(0):
            self._spend(REFUSAL)
            self._outcome.refused += counts
            return
        begun = self._now
        self._spend(self._call)
        self._limit.observe("call", self._now - begun, 1, self._now)
        in_time = self._now - arrived <= patience
        self._outcome.good += counts and in_time
        self._outcome.late += counts and not in_time


@pytest.mark.parametrize("times", [1.5, 3.0])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("woken_after", [0.0, 0.05])
def test_an_overloaded_server_does_what_its_share_of_the_processor_allows(
    share: float, woken_after: float, times: float
) -> None:
    """As much as on a processor of its own, little for nobody, and it refuses the rest."""
    rate = times * share / (CALL + PARSING)
    found = BusyLoop(share, woken_after).run(rate, 60.0, patience=1.5)
    possible = (share - rate * (PARSING + REFUSAL)) / (CALL - REFUSAL)  # the others are refused, which costs some
    assert found.good >= 0.8 * min(rate, possible)
    assert found.late <= 0.15 * found.good * 60.0


@pytest.mark.parametrize("share", [1.0, 0.25, 0.125])
@pytest.mark.parametrize("call", [0.0002, CALL])
def test_a_server_that_is_woken_up_late_is_not_overloaded(share: float, call: float) -> None:
    """On a machine with many busy processes: refusing calls would not bring its loop its processor any earlier."""
    rate = 0.4 * share / (call + PARSING)
    found = BusyLoop(share, woken_after=0.1, call=call).run(rate, 60.0, patience=2.0)
    assert found.refused <= 0.01 * rate * 60
    assert found.late == 0


def test_a_neighbour_alone_does_not_age_requests() -> None:
    """Their time begins when they are read, as long as the turns of the loop are short."""
    meter = LagMeter(0.0)
    lag = meter.tick(0.3, 0.25)
    assert (lag.blocked, lag.overload, lag.noticed, lag.age(0.31)) == (0.0, 0.0, False, 0.0)


def test_a_request_is_as_old_as_the_turns_that_it_took() -> None:
    """The path that was measured last, or the one that has not ended, and what the loop has done since."""
    meter = LagMeter(0.0)
    meter.tick(0.05, 0.0)
    assert not meter.begin_path(0.05)  # it is in time
    meter.tick(0.12, 0.0)
    assert meter.begin_path(0.05)
    assert not meter.begin_path(0.06)
    lag = meter.tick(0.85, 0.0)
    assert (lag.overload, lag.path) == pytest.approx((0.68, 0.8))
    assert lag.age(1.05) == pytest.approx(0.8 + 0.8 / 7 + 0.2)
    assert [meter.turn(1.05 + number / 10) for number in range(7)] == [True] * 6 + [False]
    assert meter.tick(1.7, 0.0).path == pytest.approx(1.6)
