"""Who is named when an event loop was blocked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.description import Method
from meshcore.core.suggest import closest, shown
from meshcore.server.blocked_loop import MIN_BLOCKED, BlockedLoopDetector

METHODS = [Method("shop", name, (), None, is_async=True) for name in ("block", "wait", "quick")]
BLOCK, WAIT, QUICK = METHODS


def test_a_short_lag_is_not_logged() -> None:
    """Below a second there is no message."""
    assert BlockedLoopDetector().late(MIN_BLOCKED / 2, 1.0, [(BLOCK, 0.0)]) == ""


def test_what_ended_just_before_the_timer_is_named() -> None:
    """The call that blocked has mostly returned when the timer's turn comes; who began last is named first."""
    detector = BlockedLoopDetector()
    detector.ended(QUICK, 4.0, 4.01)
    detector.ended(BLOCK, 5.0, 7.0)
    text = detector.late(2.0, 7.0, [(WAIT, 0.0)])
    assert text.startswith("the event loop was blocked for 2.0 s while shop.block, shop.wait ran; ")


def test_what_began_or_ended_meanwhile_is_not_named() -> None:
    """A call that was not there all the time did not block it."""
    detector = BlockedLoopDetector()
    detector.ended(WAIT, 0.0, 4.0)
    assert "while no call of this mesh ran" in detector.late(2.0, 7.0, [(QUICK, 6.9)])


@given(st.lists(st.tuples(st.sampled_from(METHODS), st.floats(0, 3), st.floats(0, 3)), max_size=60))
def test_memory_is_bounded(calls: list[tuple[Method, float, float]]) -> None:
    """However many calls were, only a few that ran long are remembered."""
    detector, now = BlockedLoopDetector(), 0.0
    for method, pause, seconds in calls:
        now += pause + seconds
        detector.ended(method, now - seconds, now)
    assert len(detector._ended) <= 16
    assert len(detector.late(2.0, now, [])) < 300


def test_long_names_are_cut_and_not_compared() -> None:
    """A name of a million characters is nobody's misspelling."""
    name = "greeting" * 100_000
    assert closest(name, ["greeting"]) is None
    assert shown("greeting") == "'greeting'"
    assert len(shown(name)) < 150
