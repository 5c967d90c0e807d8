"""All candidates have their turns one after the other, in rounds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.comparison.candidates import Candidate, Found
from benchmarks.comparison.payload import Workload
from benchmarks.comparison.processes import PeerFailedError
from benchmarks.comparison.turn import Turn

ONE, MANY = 1, 64


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: how often each candidate has its turn with each load.
        seconds: how long a turn is.
        items: how many a stream has.
    """

    rounds: int
    seconds: float
    items: int


@dataclass(frozen=True)
class Load:
    """A workload, and how many callers there are."""

    workload: Workload
    callers: int


LOADS = (
    *(
        Load(workload, callers)
        for workload in (Workload.TREE, Workload.EMPTY, Workload.TEXT)
        for callers in (ONE, MANY)
    ),
    Load(Workload.STREAM, ONE),
)


@dataclass
class Measured:
    """What came of one candidate.

    Attributes:
        peer: its name.
        name: of the candidate.
        turns: under each load, in the order of the rounds.
        server_memory: the most that the server had, in bytes.
        client_memory: the most that the client had, in bytes.
    """

    peer: str
    name: str
    turns: dict[Load, list[Turn]] = field(default_factory=dict)
    server_memory: float = 0.0
    client_memory: float = 0.0


async def measure(found: Found, effort: Effort, loads: Sequence[Load] = LOADS) -> list[Measured]:
    """Let the candidates have their turns: under each load, all of them in each round, another one first each time.

    A candidate that fails under a load has no figures of that, and the reason is added to what was left out.
    """
    measured = {candidate.name: (candidate, Measured(candidate.peer, candidate.name)) for candidate in found.candidates}
    for load in loads:
        names = [name for name, (candidate, _) in measured.items() if load.workload in candidate.workloads]
        print(f"measuring: {load.workload}, callers: {load.callers}", file=sys.stderr)
        for number in range(-1, effort.rounds):  # the first round warms up, and does not count
            for name in _from(names, number):
                candidate, entry = measured[name]
                try:
                    turn = await _turn(candidate, load, effort, warm_up=number < 0)
                except PeerFailedError as error:
                    found.left_out.append(f"left out: {name}: failed under {load.workload}, {load.callers}: {error}")
                    names.remove(name)
                    entry.turns.pop(load, None)
                    continue
                if number >= 0:
                    entry.turns.setdefault(load, []).append(turn)
    for candidate, entry in measured.values():
        entry.server_memory, entry.client_memory = candidate.server.memory(), candidate.client.memory()
    return [entry for _, entry in measured.values() if entry.turns]


WARM_UP = 0.3
"""The part of a turn that warms up."""


async def _turn(candidate: Candidate, load: Load, effort: Effort, *, warm_up: bool) -> Turn:
    part = WARM_UP if warm_up else 1.0
    return await candidate.turn(load.workload, load.callers, part * effort.seconds, int(part * effort.items))


def _from(names: Sequence[str], number: int) -> list[str]:
    """The names, beginning with another one in each round."""
    at = number % len(names) if names else 0
    return [*names[at:], *names[:at]]
