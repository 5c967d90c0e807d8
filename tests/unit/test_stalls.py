"""Who is named when an event loop stood still."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshcore.interface import Method
from meshcore.stalls import STALL, Stalls
from meshcore.suggest import closest, shown

METHODS = [Method("shop", name, (), None, is_async=True) for name in ("block", "wait", "quick")]
BLOCK, WAIT, QUICK = METHODS


def test_a_late_timer_is_no_stall() -> None:
    """Below a second nobody is told."""
    stalls = Stalls()
    stalls.begin(1, BLOCK, 0.0)
    assert stalls.late(STALL / 2, 1.0) == ""


def test_what_ended_just_before_the_timer_is_named() -> None:
    """The call that blocked has mostly returned when the timer's turn comes; who began last is named first."""
    stalls = Stalls()
    stalls.begin(1, WAIT, 0.0)
    stalls.begin(2, QUICK, 4.0)
    stalls.end(2, 4.01)
    stalls.begin(3, BLOCK, 5.0)
    stalls.end(3, 7.0)
    text = stalls.late(2.0, 7.0)
    assert text.startswith("the event loop stood still for 2.0 s while shop.block, shop.wait ran; ")


def test_what_began_or_ended_meanwhile_is_not_named() -> None:
    """A call that was not there all the time did not block it."""
    stalls = Stalls()
    stalls.begin(1, WAIT, 0.0)
    stalls.end(1, 4.0)
    stalls.begin(2, QUICK, 6.9)
    assert "while no call of this mesh ran" in stalls.late(2.0, 7.0)


@given(st.lists(st.tuples(st.sampled_from(METHODS), st.floats(0, 3), st.floats(0, 3)), max_size=60))
def test_memory_is_bounded(calls: list[tuple[Method, float, float]]) -> None:
    """However many calls were, only what runs and a few that ran long are remembered, and each is forgotten once."""
    stalls, now = Stalls(), 0.0
    for key, (method, pause, seconds) in enumerate(calls):
        now += pause
        stalls.begin(key, method, now)
        now += seconds
        stalls.end(key, now)
    assert not stalls._running
    assert len(stalls._ended) <= 16
    assert len(stalls.late(2.0, now)) < 300


def test_long_names_are_cut_and_not_compared() -> None:
    """A name of a million characters is nobody's misspelling."""
    name = "greeting" * 100_000
    assert closest(name, ["greeting"]) is None
    assert shown("greeting") == "'greeting'"
    assert len(shown(name)) < 150
