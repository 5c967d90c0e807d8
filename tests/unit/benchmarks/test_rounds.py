"""Candidates have their turns in rounds, and those that fail are left out with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.comparison.candidates import Found
from benchmarks.comparison.measure import Effort, Load, measure
from benchmarks.comparison.payload import Workload
from benchmarks.comparison.processes import PeerFailedError
from benchmarks.comparison.turn import Turn

TREE, STREAM = Load(Workload.TREE, 64), Load(Workload.STREAM, 1)
EFFORT = Effort(rounds=3, seconds=1.0, items=1000)


class Memory:
    """A process, of which only the memory is asked for."""

    def memory(self) -> float:
        return 1e6


class Recorded:
    """A candidate without processes.

    Args:
        turns: of all candidates, in their order; it is added to.
        fails_at: the number of the turn, from 0, that it does not come back from.
    """

    def __init__(
        self, name: str, turns: list[str], workloads: Sequence[Workload] = (Workload.TREE,), fails_at: int = -1
    ) -> None:
        self.peer = self.name = name
        self.workloads = workloads
        self.server = self.client = Memory()
        self.asked: list[tuple[float, int]] = []
        self._turns = turns
        self._fails_at = fails_at

    async def turn(self, workload: Workload, callers: int, seconds: float, items: int) -> Turn:
        self._turns.append(self.name)
        if len(self.asked) == self._fails_at:
            raise PeerFailedError("the process has ended: out of luck")
        self.asked.append((seconds, items))
        return Turn(seconds, 100, 0.1, 0.1, 0.1, 0.1)


def found(*candidates: Any) -> Found:
    """As if they had been started."""
    return Found(list(candidates))


async def test_each_round_begins_with_another_one() -> None:
    """So that none is always the one after the slowest; the first round warms up, is shorter, and does not count."""
    turns: list[str] = []
    candidates = [Recorded(name, turns) for name in "abc"]
    measured = await measure(found(*candidates), EFFORT, [TREE])
    assert "".join(turns) == "cab" + "abc" + "bca" + "cab"
    assert [len(each.turns[TREE]) for each in measured] == [3, 3, 3]
    assert [seconds for seconds, _ in candidates[0].asked] == [0.3, 1, 1, 1]
    assert measured[0].server_memory == measured[0].client_memory == 1e6


async def test_who_lacks_a_workload_has_no_turn_with_it() -> None:
    """The others have."""
    turns: list[str] = []
    both = Recorded("both", turns, (Workload.TREE, Workload.STREAM))
    measured = await measure(found(Recorded("one", turns), both), EFFORT, [TREE, STREAM])
    assert [set(each.turns) for each in measured] == [{TREE}, {TREE, STREAM}]
    assert both.asked[-1] == (1.0, 1000)


async def test_who_fails_is_left_out_and_named() -> None:
    """With nothing of it in the figures, and the others measured in full."""
    turns: list[str] = []
    there = found(Recorded("bad", turns, fails_at=2), Recorded("good", turns))
    measured = await measure(there, EFFORT, [TREE])
    assert [(each.name, len(each.turns[TREE])) for each in measured] == [("good", 3)]
    assert there.left_out == ["left out: bad: failed under tree, 64: the process has ended: out of luck"]
    assert turns.count("bad") == 3
