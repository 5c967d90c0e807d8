"""What the stream channel aims at, held against the peers of the same run. Goals without one of both are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.comparison.figures import ratio
from benchmarks.comparison.measure import MANY, ONE, Load, Measured
from benchmarks.comparison.payload import Workload
from benchmarks.comparison.turn import Turn
from benchmarks.report import Goal

OURS = "meshcore stream-msgpack"
UNARY, BIDIRECTIONAL, ECHO = "grpc.aio unary, dataclasses", "grpc.aio one stream, dataclasses", "TCP echo"
ASPYX = "aspyx-service"
TREE_ONE, TREE_MANY = Load(Workload.TREE, ONE), Load(Workload.TREE, MANY)
TEXT_MANY, STREAM = Load(Workload.TEXT, MANY), Load(Workload.STREAM, ONE)


@dataclass(frozen=True)
class Aim:
    """A ratio of our figure to another's."""

    text: str
    other: str
    load: Load
    limit: float
    of: Callable[[Turn], float]
    at_least: bool = False


def _rate(turn: Turn) -> float:
    return turn.rate


def _p50(turn: Turn) -> float:
    return turn.p50


def _cpu(turn: Turn) -> float:
    return turn.cpu


AIMS = (
    Aim("calls/s, 64 callers", UNARY, TREE_MANY, 10.0, _rate, at_least=True),
    Aim("calls/s, 64 callers", BIDIRECTIONAL, TREE_MANY, 5.0, _rate, at_least=True),
    Aim("calls/s, 64 callers", ASPYX, TREE_MANY, 80.0, _rate, at_least=True),
    Aim("p50, one caller", UNARY, TREE_ONE, 0.4, _p50),
    Aim("p50, one caller", BIDIRECTIONAL, TREE_ONE, 0.8, _p50),
    Aim("p50, one caller", ECHO, TREE_ONE, 5.0, _p50),
    Aim("CPU of both sides, 64 callers", UNARY, TREE_MANY, 0.07, _cpu),
    Aim("items/s of a stream", UNARY, STREAM, 5.0, _rate, at_least=True),
    Aim("MB/s of 100 KB payloads, 64 callers", UNARY, TEXT_MANY, 2.0, _rate, at_least=True),
)


def goals(measured: Iterable[Measured]) -> list[Goal]:
    """The goals about which this run can say something."""
    found = {each.name: each for each in measured}
    ours = found.get(OURS)
    if ours is None:
        return []
    held: list[Goal] = []
    for aim in AIMS:
        other = _fastest(found, aim)
        if other is not None and aim.load in ours.turns:
            value = ratio(ours.turns[aim.load], other.turns[aim.load], aim.of)
            held.append(Goal(f"{OURS} to {other.name}: {aim.text}", aim.limit, value, aim.at_least))
    return held


def _fastest(found: Mapping[str, Measured], aim: Aim) -> Measured | None:
    """The candidate of this name; of a peer's name, its fastest."""
    candidates = [each for each in found.values() if aim.other in (each.name, each.peer) and aim.load in each.turns]

    def seconds(of: Measured) -> float:
        return sum(turn.per_call for turn in of.turns[aim.load])

    return min(candidates, key=seconds, default=None)
