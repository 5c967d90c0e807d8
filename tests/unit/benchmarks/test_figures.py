"""Figures of the comparison: medians, quartiles, ratios."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.comparison.figures import comparison, ratio, spread
from benchmarks.comparison.measure import Effort, Load, Measured
from benchmarks.comparison.payload import Workload, item, tree
from benchmarks.comparison.peer import Call
from benchmarks.comparison.turn import Turn, load_stream, load_threads, summary
from benchmarks.load import Slice, load

TREE = Load(Workload.TREE, 64)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_quartiles_enclose_the_median(values: list[float]) -> None:
    """And none is beyond what was measured."""
    found = spread(values)
    assert min(values) <= found.low * (1 + 1e-9)
    assert found.low <= found.median * (1 + 1e-9)
    assert found.median <= found.high * (1 + 1e-9)
    assert found.high <= max(values) * (1 + 1e-9)


def test_a_spread_of_five_rounds() -> None:
    """The middle one, the second and the fourth, in any order."""
    found = spread([50.0, 10.0, 40.0, 20.0, 30.0])
    assert (found.low, found.median, found.high) == (20, 30, 40)


def test_a_ratio_is_that_of_the_same_round() -> None:
    """A machine that is ten times slower in one round changes nothing."""
    ours = [Turn(1.0, calls, 0.1, 0.1, 0.1) for calls in (200, 20, 200)]
    theirs = [Turn(1.0, calls, 0.1, 0.1, 0.1) for calls in (100, 10, 100)]
    assert ratio(ours, theirs, lambda turn: turn.rate) == 2


def test_figures_are_per_call_and_in_microseconds() -> None:
    """CPU of both sides is added; memory is in MB."""
    turn = Turn(seconds=2.0, calls=1000, p50=0.001, p99=0.004, client=0.1, server=0.3)
    measured = Measured("peer", "peer way", {TREE: [turn, turn]}, server_memory=5e7, client_memory=3e7)
    found = comparison([measured], Effort(2, 2.0, 10), {"peer": {"package": "1.0"}})
    (subject,) = found.subjects
    result = subject.under(Workload.TREE, 64)
    assert result is not None
    assert [getattr(result, name).median for name in ("p50", "p99", "rate")] == pytest.approx([1000, 4000, 500])
    assert [getattr(result, name).median for name in ("client", "server", "cpu")] == pytest.approx([100, 300, 400])
    assert (subject.server_memory, subject.client_memory) == (50, 30)
    assert subject.under(Workload.TREE, 1) is None


def test_a_turn_is_summed_up() -> None:
    """Also one of a single call, which has no percentiles."""
    found = summary(Slice(1.0, [0.1, 0.2, 0.3, 0.4], client=0.5))
    assert (found.calls, found.p50, found.client) == (4, 0.25, 0.5)
    assert 0.39 < found.p99 <= 0.4
    assert summary(Slice(1.0, [0.1])).p99 == 0.1


def test_threads_call_at_the_same_time() -> None:
    """Each caller has a thread, and every call is counted."""
    called: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        found = load_threads(lambda: called.append(1), pool, 4, 0.02)
    assert found.calls == len(called) >= 4
    assert found.seconds >= 0.02


async def test_each_caller_calls_once_at_least() -> None:
    """Also where the time is over before it can begin, as it may be on a busy machine: no turn is without figures."""
    called: list[int] = []

    async def call() -> None:
        called.append(1)

    for callers in (1, 3):
        called.clear()
        assert len((await load(call, callers, 0.0)).times) == len(called) == callers
    with ThreadPoolExecutor(2) as pool:
        assert load_threads(lambda: called.append(1), pool, 2, 0.0).calls == 2


async def test_a_stream_that_ends_early_is_no_result() -> None:
    """Fewer items would look like more of them per second."""

    async def items(count: int) -> tuple[int, object]:
        await asyncio.sleep(0)
        return count - 1, item(count - 2)

    with pytest.raises(AssertionError, match="10 items were asked for, 9 came"):
        await load_stream(Call(items), 10)


def test_the_tree_has_seven_nodes() -> None:
    """Numbered by levels."""
    root = tree()
    level = [root]
    numbers: list[int] = []
    while level:
        numbers += [node.quantity for node in level]
        level = [part for node in level for part in node.parts]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]
