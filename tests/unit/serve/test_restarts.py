"""When a worker that has ended is replaced."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshcore.serve.workers import Restarts


def test_the_pause_grows_while_workers_end_soon() -> None:
    """The first is replaced at once, and none waits longer than half a minute."""
    restarts = Restarts()
    assert [restarts.pause(1.0) for _ in range(9)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_worker_that_has_lived_long_is_replaced_at_once() -> None:
    """What was before it no longer counts."""
    restarts = Restarts()
    for _ in range(5):
        restarts.pause(1.0)
    assert restarts.pause(60.0) == 0.0
    assert [restarts.pause(59.0), restarts.pause(1.0)] == [0.5, 1.0]


@given(st.lists(st.floats(0.0, 1000.0)))
def test_a_pause_is_bounded(lives: list[float]) -> None:
    """Whatever the workers do."""
    restarts = Restarts()
    assert all(0.0 <= restarts.pause(lived) <= 30.0 for lived in lives)
